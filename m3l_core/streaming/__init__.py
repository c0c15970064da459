"""Messages to frames, and frames to sets, whichever sensor fails."""
