"""Recordings: reading them, and the frame sets that a robot would have made of them."""
