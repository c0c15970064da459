"""What befalls the sensors of a replay."""
