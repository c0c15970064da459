"""ROS 2 nodes around m3l_core; nodes wire, they compute nothing."""
