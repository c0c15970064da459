"""Console scripts; they say what to install where rclpy is missing."""

from __future__ import annotations

import sys

from m3l_core.errors import MissingPackageError, require


def segment_node() -> None:
    """``m3l_segment_node``: what ``ros2 run m3l_ros segment_node`` starts."""
    _require_ros()
    from m3l_ros.segment_node import main

    main()


def demo() -> None:
    """``m3l_demo``: what ``python -m m3l_ros.demo`` starts."""
    _require_ros()
    from m3l_ros.demo.__main__ import main

    main()


def _require_ros() -> None:
    try:
        require("rclpy", "ros")
    except MissingPackageError as error:
        sys.exit(str(error))
