"""The training loop, its settings and the methods that it knows."""
