"""How this package was installed, as far as it changes what a user types: by pip, or by colcon into a ROS workspace."""

from __future__ import annotations

import os
import sys


def in_workspace() -> bool:
    """Whether the commands are those of a sourced colcon workspace: there ``ros2 run`` reaches them, not PATH."""
    if sys.prefix != sys.base_prefix:  # a virtual environment has its own
        return False
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    return any(os.path.isfile(os.path.join(prefix, "share/colcon-core/packages/m3l_ros")) for prefix in prefixes)


def command(name: str) -> str:
    """A command of this package as it is typed here: ``m3l_replay`` or ``ros2 run m3l_ros m3l_replay``."""
    return f"ros2 run m3l_ros {name}" if in_workspace() else name


def install_command(extra: str = "") -> str:
    """What installs the packages that this one needs, and those of an extra of setup.py."""
    if in_workspace():
        if extra == "ros":
            return "source /opt/ros/$ROS_DISTRO/setup.bash"
        return " ".join(["ros2 run m3l_ros install_packages", *([extra] if extra else [])])
    return f"pip install 'm3l_ros[{extra}]'" if extra else "pip install m3l_ros"
