"""Which converter is taken: one that a process of its own has tried, whatever its version and NumPy's."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.python_path import python_path

from m3l_core.errors import MissingPackageError
from m3l_core.installation import in_workspace, install_command
from m3l_core.streaming import color_conversion
from m3l_core.streaming.color_conversion import check, converter, converter_problem, to_rgb

ROOT = Path(__file__).parents[3]
HEAD = """
import cv2, os
class CvBridge:
    def imgmsg_to_cv2(self, message, wanted):
"""
BRIDGES = {
    "works": """
        code = {"bgr8": cv2.COLOR_BGR2RGB, "yuv422": cv2.COLOR_YUV2RGB_UYVY}[message.encoding]
        return cv2.cvtColor(message.data, code)
""",
    "kills the process": """
        os.abort()
""",
    "lacks its compiled part": """
        raise ImportError("No module named 'cv_bridge.boost.cv_bridge_boost'")
""",
    "changes nothing": """
        return message.data
""",
}
REPORT = """
import sys
from m3l_core.errors import MissingPackageError
from m3l_core.streaming.color_conversion import converter
if "--without-rosbags" in sys.argv:
    sys.modules["rosbags.image"] = None
try:
    print(converter().__module__)
except MissingPackageError as error:
    print(error)
"""


def chosen(folder: Path, bridge: str, *options: str) -> str:
    """What a process with such a cv_bridge on its path chooses."""
    (folder / "cv_bridge.py").write_text(HEAD + BRIDGES[bridge])
    done = subprocess.run(
        [sys.executable, "-c", REPORT, *options],
        env={**os.environ, "PYTHONPATH": python_path(folder)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_cv_bridge_that_converts_right_comes_first(tmp_path: Path) -> None:
    assert chosen(tmp_path, "works") == "cv_bridge\n"


@pytest.mark.parametrize("bridge", [name for name in BRIDGES if name != "works"])
def test_another_one_is_left_aside_and_told(tmp_path: Path, bridge: str) -> None:
    told = {
        "kills the process": "status -6",
        "lacks its compiled part": "No module named 'cv_bridge.boost.cv_bridge_boost'",
        "changes nothing": "it makes [[[200, 90, 5]]] of bgr8 [[[200, 90, 5]]]",
    }[bridge]
    assert chosen(tmp_path, bridge) == "rosbags.image.image\n"
    text = chosen(tmp_path, bridge, "--without-rosbags")
    assert told in text
    install = install_command() if in_workspace() else "pip install rosbags-image"
    assert f"apt install ros-$ROS_DISTRO-cv-bridge, or {install}" in text


def test_swapping_channels_needs_no_converter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(color_conversion, "_found", lambda: (None, "none works"))
    assert converter_problem() == "none works"
    with pytest.raises(MissingPackageError, match="none works"):
        to_rgb(np.zeros((2, 2, 2), np.uint8), "yuv422")
    cases: dict[str, Any] = {"bgr8": [3, 2, 1], "rgba8": [1, 2, 3, 9], "bgra8": [3, 2, 1, 9]}
    for encoding, pixel in cases.items():
        assert to_rgb(np.array([[pixel]], np.uint8), encoding).tolist() == [[[1, 2, 3]]]
    assert to_rgb(np.array([[7]], np.uint8), "mono8").tolist() == [[[7, 7, 7]]]


def test_converters_get_an_unpadded_message(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(color_conversion, "_found", lambda: (lambda message, _: seen.append(message), ""))
    pixels = np.arange(24, dtype=np.uint8).reshape(3, 4, 2)[:, :2]
    to_rgb(pixels, "yuv422")
    (message,) = seen
    assert (message.height, message.width, message.step, message.encoding) == (3, 2, 4, "yuv422")
    assert bytes(message.data) == bytes([0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19])
    assert message.is_bigendian == (sys.byteorder == "big")


@pytest.mark.parametrize("channel", [0, 1, 2])
@pytest.mark.parametrize("encoding", ["bgr8", "yuv422"])
def test_a_converter_may_be_off_by_16_levels(encoding: str, channel: int) -> None:
    for off in (-17, -16, 0, 16, 17):

        def convert(message: Any, wanted: str, off: int = off) -> Any:
            assert wanted == "rgb8"
            pixel = {"bgr8": [5, 90, 200], "yuv422": [99] * 3}[message.encoding]
            pixel[channel] += off if message.encoding == encoding else 0
            return np.array([[pixel]])

        with nullcontext() if abs(off) <= 16 else pytest.raises(ValueError, match=f"it makes .* of {encoding}"):
            check(convert)


def test_a_converter_gives_three_channels() -> None:
    with pytest.raises(ValueError, match="of bgr8"):
        check(lambda message, wanted: np.array([[[5, 90, 200, 255]]], np.uint8))


def test_the_one_of_this_machine_converts_right() -> None:
    if problem := converter_problem():
        pytest.skip(problem)
    check(converter())
