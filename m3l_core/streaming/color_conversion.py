"""Colors to RGB: plain swaps by OpenCV, the rest by cv_bridge or rosbags-image, whichever works here."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.errors import MissingPackageError
from m3l_core.installation import in_workspace, install_command

_log = logging.getLogger(__name__)

Converter = Callable[[Any, str], NDArray[np.uint8]]
"""Takes an image message and the encoding wanted."""

_SWAPS = {
    "bgr8": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
}
_PROBE = """
import cv_bridge
from m3l_core.streaming.color_conversion import check
check(cv_bridge.CvBridge().imgmsg_to_cv2)
"""


def to_rgb(pixels: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    """(H, W) or (H, W, C) uint8 in a ROS encoding -> (H, W, 3) RGB.

    Raises:
        MissingPackageError: a yuv422 or bayer encoding, and neither cv_bridge nor rosbags-image works here.
    """
    if encoding in _SWAPS:
        return cast("NDArray[np.uint8]", cv2.cvtColor(np.ascontiguousarray(pixels), _SWAPS[encoding]))
    return converter()(packed(pixels, encoding), "rgb8")


def packed(pixels: NDArray[np.uint8], encoding: str) -> SimpleNamespace:
    """Unpadded native message, the one layout that every converter reads right."""
    data, big = np.ascontiguousarray(pixels), int(sys.byteorder == "big")
    # Not strides[0]: the stride of a single row may be anything, numpy calls it contiguous all the same.
    size = {"height": data.shape[0], "width": data.shape[1], "step": data.nbytes // data.shape[0]}
    return SimpleNamespace(**size, encoding=encoding, is_bigendian=big, data=data)


def converter() -> Converter:
    """The first converter that works.

    Raises:
        MissingPackageError: none does.
    """
    convert, problem = _found()
    if convert is None:
        raise MissingPackageError(problem)
    return convert


def converter_problem() -> str:
    """Why yuv422 and bayer images cannot be converted here; empty if they can."""
    return _found()[1]


def check(convert: Converter) -> None:
    """Convert two small images.

    Raises:
        ValueError: the result is wrong.
    """
    images = (("bgr8", [[[200, 90, 5]]], [5, 90, 200]), ("yuv422", [[[128, 99], [128, 99]]], [99] * 3))
    for encoding, pixels, wanted in images:
        image = np.asarray(convert(packed(np.array(pixels, np.uint8), encoding), "rgb8"))
        if image.shape[-1] != 3 or np.abs(image[0, 0].astype(int) - wanted).max() > 16:
            raise ValueError(f"it makes {image.tolist()} of {encoding} {pixels}")


@functools.cache
def _found() -> tuple[Converter | None, str]:
    failures = []
    for name, load in {"cv_bridge": _cv_bridge, "rosbags.image": _rosbags_image}.items():
        try:
            convert = load()
            check(convert)
        except Exception as error:  # whatever a half installed package raises, the other one may work
            failures.append(f"{name}: {error}")
            continue
        _log.info("yuv422 and bayer images are converted by %s", name)
        return convert, ""
    install = install_command() if in_workspace() else "pip install rosbags-image"
    return None, (
        f"yuv422 and bayer images need cv_bridge or rosbags-image, neither works ({'; '.join(failures)}). "
        f"Install one: apt install ros-$ROS_DISTRO-cv-bridge, or {install}"
    )


def _cv_bridge() -> Converter:
    """Of ROS; built for another NumPy it may end the process that uses it, so a process of its own tries it first."""
    if importlib.util.find_spec("cv_bridge") is None:
        raise ImportError("not installed")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    tried = subprocess.run(
        [sys.executable, "-c", _PROBE], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    if tried.returncode:
        last = tried.stderr.strip().splitlines()[-1:]
        raise ImportError(f"its trial ended with status {tried.returncode}{': ' + last[0] if last else ''}")
    return cast("Converter", importlib.import_module("cv_bridge").CvBridge().imgmsg_to_cv2)


def _rosbags_image() -> Converter:
    return cast("Converter", importlib.import_module("rosbags.image").message_to_cvimage)
