"""What a replay is written as, for viewers."""
