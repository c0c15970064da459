"""Which frames to label, and labels to and from the tools that draw them."""
