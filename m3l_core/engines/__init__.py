"""What runs the network: one file for each engine, and the table that chooses."""
