"""Recordings to folders of training data."""
