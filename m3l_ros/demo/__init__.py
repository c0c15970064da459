"""The demo: the real node on a recording that loses depth, then color, then gets both back."""
