"""Multi-modal segmentation that survives a lost sensor. No ROS in here: arrays, stamps, plain objects."""

__version__ = "0.1.0"
