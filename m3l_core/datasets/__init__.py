"""The one format that training reads: an index of frames, and how it is split."""
