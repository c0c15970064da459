"""The files of a frame set, and what its entry says of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from support.bags import START_NS, compressed, millimetres, png, rgb
from support.two_cameras import COLOR, DEPTH, DEPTH_TO_COLOR

from m3l_core.bags.arrivals import Arrival
from m3l_core.bags.frame_sets import RecordedFrame
from m3l_core.extraction.frame_index import sha256
from m3l_core.extraction.frame_set_files import write_frame_set
from m3l_core.frames import Frame, FrameSet
from m3l_core.registration.depth_registration import DepthRegistration

REGISTRATION = DepthRegistration(DEPTH, COLOR, DEPTH_TO_COLOR)


@pytest.mark.parametrize("head", [0, 12])
def test_millimetres_stay_the_png_that_they_came_as(tmp_path: Path, head: int) -> None:
    """With the head of compressedDepth and without; another program compresses otherwise than this one."""
    content = cv2.imencode(".png", millimetres(1), (cv2.IMWRITE_PNG_COMPRESSION, 9))[1].tobytes()
    assert content != png(millimetres(1))
    message = compressed(bytes(head) + content, "16UC1; compressedDepth png", START_NS)
    frame = RecordedFrame("depth", START_NS, millimetres(1), arrival=Arrival(START_NS, "depth", message, START_NS))
    write_frame_set(tmp_path, "kitchen", None, FrameSet("depth", {"depth": frame}))
    assert (tmp_path / f"depth/{START_NS}.png").read_bytes() == content


def test_depth_that_cannot_be_registered_costs_nothing_else(tmp_path: Path) -> None:
    depth = Frame("depth", START_NS + 5, millimetres(1))
    color = Frame("color", START_NS, rgb(1))
    frame_set = FrameSet("color", {"depth": depth, "color": color})
    entry, written, useless = write_frame_set(tmp_path, "kitchen", REGISTRATION, frame_set)
    why = "its camera_info is of images of 80x60, it is 32x24"
    assert (written, useless) == (1, {"depth": why})
    picture = tmp_path / f"color/{START_NS}.png"
    assert entry == {
        "recording": "kitchen",
        "stamp_ns": START_NS,
        "color": f"color/{START_NS}.png",
        "depth": None,
        "offsets_ns": {"color": 0},
        "missing": {"depth": why},
        "sha256": {"color": sha256(picture.read_bytes())},
    }
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [picture]
    assert write_frame_set(tmp_path, "kitchen", REGISTRATION, frame_set).written == 0


def test_what_is_there_already_is_told_as_it_lies_there(tmp_path: Path) -> None:
    (tmp_path / "color").mkdir()
    (tmp_path / f"color/{START_NS}.png").write_bytes(b"mine")
    frame_set = FrameSet("color", {"color": Frame("color", START_NS, rgb(1))}, {"depth": "no frame"})
    entry, written, useless = write_frame_set(tmp_path, "kitchen", None, frame_set)
    assert (written, useless, entry["missing"]) == (0, {}, {"depth": "no frame"})
    assert entry["sha256"] == {"color": sha256(b"mine")}
    assert (tmp_path / f"color/{START_NS}.png").read_bytes() == b"mine"


@pytest.mark.parametrize("registration", [None, REGISTRATION], ids=["as recorded", "registered"])
def test_metres_become_millimetres(tmp_path: Path, registration: DepthRegistration | None) -> None:
    metres = np.full((60, 80), 1.5, np.float32)
    metres[:, :40] = np.nan
    write_frame_set(tmp_path, "kitchen", registration, FrameSet("depth", {"depth": Frame("depth", START_NS, metres)}))
    found = cv2.imread(str(tmp_path / f"depth/{START_NS}.png"), cv2.IMREAD_UNCHANGED)
    assert found.dtype == np.uint16
    if registration is None:
        assert found.shape == (60, 80) and set(found[:, 40:].ravel()) == {1500} and not found[:, :40].any()
    else:
        assert found.shape == COLOR.size and 0 < np.median(found[found > 0]) < 2000
