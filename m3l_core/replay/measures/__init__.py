"""What is counted while a recording is replayed."""
