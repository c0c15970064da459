"""Depth of one camera as another one sees it."""
