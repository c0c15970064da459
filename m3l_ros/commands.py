"""Console scripts; they say what to install where rclpy is missing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from m3l_core.errors import MissingPackageError, require
from m3l_core.installation import install_command
from m3l_ros.process_end import leave_at_once_on_signals

if TYPE_CHECKING:
    from m3l_core.replay.command import OpenLive


def segment_node() -> None:
    """``m3l_segment_node``: what ``ros2 run m3l_ros segment_node`` starts."""
    leave_at_once_on_signals()
    _require_ros()
    try:
        from m3l_ros.segment_node import main
    except ImportError as error:
        sys.exit(f"segment_node: {error}. To install what is missing: {install_command()}")

    main()


def demo() -> None:
    """``m3l_demo``: what ``python -m m3l_ros.demo`` starts."""
    _require_ros()
    from m3l_ros.demo.__main__ import main

    main()


def replay() -> None:
    """``m3l_replay``; only with ``--live`` it needs ROS."""
    from m3l_core.replay.command import main

    try:
        main(_live_replay)
    except KeyboardInterrupt:
        sys.exit(130)


def _live_replay() -> OpenLive:
    require("rclpy", "ros")
    from m3l_ros.live_replay.live_replay import open_live_replay

    return open_live_replay


def _require_ros() -> None:
    try:
        require("rclpy", "ros")
    except MissingPackageError as error:
        sys.exit(str(error))
