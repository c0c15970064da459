"""A recording through the robot's own code, with sensors that fail."""
