"""Whether depth is registered, decided from real bags."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bags import SIZE, START_NS, Recorded, image, millimetres, rgb, write_bag
from support.two_cameras import (
    COLOR_FRAME,
    COLOR_TOPIC,
    DEPTH_FRAME,
    DEPTH_TO_COLOR,
    DEPTH_TOPIC,
    camera_info,
    in_frame,
    pinhole,
    rig_links,
    rig_recording,
    static_transforms,
    turned,
)

from m3l_core.bags.reader import open_bag
from m3l_core.errors import DatasetError
from m3l_core.registration.camera_model import CameraModel
from m3l_core.registration.cameras import RecordedCameras, field_of_view_deg, read_cameras

TOPICS = {"color": COLOR_TOPIC, "depth": DEPTH_TOPIC}
INFO = {"color": "/rig/color/camera_info", "depth": "/rig/depth/camera_info"}
GRID = pinhole(SIZE, 30.0)


def read(path: Path, recorded: list[Recorded], **options: Any) -> RecordedCameras:
    with open_bag(write_bag(path / "rig", recorded)) as bag:
        return read_cameras(bag, TOPICS, **options)


def pair(
    color_frame: str = COLOR_FRAME, depth_frame: str = DEPTH_FRAME, color: Any = None, depth: Any = None, *more: Any
) -> list[Recorded]:
    """An image of each camera, of one size, and the camera_info that is given."""
    recorded = [
        Recorded(COLOR_TOPIC, START_NS, in_frame(image(rgb(1), "rgb8", START_NS), color_frame)),
        Recorded(DEPTH_TOPIC, START_NS, in_frame(image(millimetres(1), "16UC1", START_NS), depth_frame)),
    ]
    infos = ((INFO["color"], color, color_frame), (INFO["depth"], depth, depth_frame))
    recorded += [
        Recorded(topic, START_NS, camera_info(camera, frame) if isinstance(camera, CameraModel) else camera)
        for topic, camera, frame in infos
        if camera is not None
    ]
    return recorded + [Recorded("/tf_static", START_NS, links) for links in more]


def test_two_cameras_are_registered_by_what_the_bag_says_of_them(tmp_path: Path) -> None:
    cameras = read(tmp_path, rig_recording())
    assert cameras.registration is not None
    np.testing.assert_allclose(cameras.registration.depth_to_color, DEPTH_TO_COLOR, atol=1e-12)
    described = cameras.described()
    assert described["color"]["frame_id"] == COLOR_FRAME
    assert (described["color"]["width"], described["color"]["fx"]) == (160, 140.0)
    assert described["depth"]["distortion_model"] == "rational_polynomial"
    np.testing.assert_allclose(described["depth_to_color"], DEPTH_TO_COLOR, atol=1e-12)


@pytest.mark.parametrize(
    "recorded",
    [
        pair("camera", "/camera"),
        pair("camera", "camera", GRID),
        pair(COLOR_FRAME, DEPTH_FRAME, GRID, GRID),
        pair(COLOR_FRAME, DEPTH_FRAME, GRID, replace(GRID, matrix=GRID.matrix * [[1.0001], [1], [1]])),
        pair(COLOR_FRAME, DEPTH_FRAME, GRID, GRID, static_transforms((COLOR_FRAME, DEPTH_FRAME, turned((0, 0, 1e-4))))),
    ],
    ids=["one frame", "one frame, half the camera_info", "equal intrinsics", "nearly equal intrinsics", "one place"],
)
def test_depth_that_a_driver_has_registered_stays_as_it_is(tmp_path: Path, recorded: list[Recorded]) -> None:
    cameras = read(tmp_path, recorded)
    assert cameras.registration is None
    assert set(cameras.by_modality) == {"color", "depth"}


def test_one_frame_with_other_pixels_is_registered_without_a_transform(tmp_path: Path) -> None:
    cameras = read(tmp_path, pair("camera", "camera", GRID, pinhole(SIZE, 40.0)))
    assert cameras.registration is not None
    np.testing.assert_array_equal(cameras.registration.depth_to_color, np.eye(4))


def test_equal_cameras_in_two_places_are_not_one(tmp_path: Path) -> None:
    cameras = read(tmp_path, pair(COLOR_FRAME, DEPTH_FRAME, GRID, GRID, rig_links()))
    assert cameras.registration is not None
    np.testing.assert_allclose(cameras.registration.depth_to_color, DEPTH_TO_COLOR, atol=1e-12)


def test_the_second_of_a_stereo_pair_is_not_the_first(tmp_path: Path) -> None:
    second = replace(GRID, baseline_px=-3.6)
    links = static_transforms((DEPTH_FRAME, COLOR_FRAME, turned((0, 0, 0), (0.12, 0, 0))))
    cameras = read(tmp_path, pair(COLOR_FRAME, DEPTH_FRAME, second, GRID, links))
    assert cameras.registration is not None
    assert cameras.registration.depth_to_color[0, 3] == pytest.approx(-0.12)


def test_what_rectifies_a_raw_image_turns_it_first(tmp_path: Path) -> None:
    color, depth = turned((0, 0.02, 0)), turned((0.01, 0, 0))
    models = (replace(GRID, rotation=color[:3, :3]), replace(pinhole(SIZE, 40.0), rotation=depth[:3, :3]))
    cameras = read(tmp_path, pair(COLOR_FRAME, DEPTH_FRAME, *models, rig_links()))
    assert cameras.registration is not None
    expected = np.linalg.inv(color) @ DEPTH_TO_COLOR @ depth
    np.testing.assert_allclose(cameras.registration.depth_to_color, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("recorded", "lacking"),
    [
        (pair(), f"{INFO['color']} was not recorded; {INFO['depth']} was not recorded; no chain of transforms"),
        (pair(COLOR_FRAME, DEPTH_FRAME, GRID, pinhole(SIZE, 40.0)), f"joins '{DEPTH_FRAME}' and '{COLOR_FRAME}'"),
        (pair(COLOR_FRAME, DEPTH_FRAME, GRID, pinhole((60, 80), 40.0), rig_links()), "is of images of 80x60"),
        (
            pair(COLOR_FRAME, DEPTH_FRAME, GRID, camera_info(GRID, DEPTH_FRAME, k=np.zeros(9)), rig_links()),
            f"{INFO['depth']}: the camera is not calibrated",
        ),
    ],
    ids=["nothing", "no transform", "another size", "not calibrated"],
)
def test_what_cannot_be_registered_says_what_to_change(tmp_path: Path, recorded: list[Recorded], lacking: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read(tmp_path, recorded)
    text = str(caught.value)
    assert lacking in text
    for advice in ("align_depth.enable:=true", "depth_registered", "stereo.i_align_depth: true", "--depth-as-is"):
        assert advice in text
    assert f"{DEPTH_TOPIC} (frame '{DEPTH_FRAME}', {SIZE[1]}x{SIZE[0]})" in text


def test_a_flag_takes_it_as_it_is(tmp_path: Path) -> None:
    assert read(tmp_path, pair(), depth_as_is=True).registration is None


def test_broken_images_are_passed_over_however_many(tmp_path: Path) -> None:
    broken = Recorded(DEPTH_TOPIC, START_NS - 1, b"\0\1\0\0", "sensor_msgs/msg/Image")
    cameras = read(tmp_path, [*[broken] * 50, *rig_recording(1)])
    assert cameras.registration is not None


def test_a_topic_without_images_has_no_camera(tmp_path: Path) -> None:
    with open_bag(write_bag(tmp_path / "bag", pair()[:1], empty=[DEPTH_TOPIC])) as bag:
        cameras = read_cameras(bag, TOPICS)
    assert (set(cameras.by_modality), cameras.registration) == ({"color"}, None)


WIDE, WIDER = pinhole(SIZE, SIZE[1] / 2), pinhole(SIZE, SIZE[1] / 3)
BROKEN = Recorded(INFO["color"], START_NS, b"\0\1\0\0", "sensor_msgs/msg/CameraInfo")
CROPPED = pinhole((SIZE[0], SIZE[1] * 2), SIZE[1] / 3)


@pytest.mark.parametrize(
    ("color", "depth", "expected"),
    [
        (WIDE, WIDE, 90.0),
        (WIDE, None, 90.0),
        (None, WIDER, 112.62),
        (CROPPED, WIDER, 112.62),
        (camera_info(GRID, COLOR_FRAME, k=np.zeros(9)), None, None),
        (camera_info(WIDE, COLOR_FRAME, distortion_model="unheard of", d=np.ones(3)), None, 90.0),
        (BROKEN, None, None),
        (None, None, None),
    ],
    ids=["both", "color", "depth", "another aspect", "not calibrated", "another distortion", "broken", "none"],
)
def test_a_recording_tells_how_wide_its_cameras_see(
    tmp_path: Path, color: Any, depth: Any, expected: float | None
) -> None:
    broken = [color] if isinstance(color, Recorded) else []
    recorded = pair("camera", "camera", None if broken else color, depth) + broken
    with open_bag(write_bag(tmp_path / "bag", recorded)) as bag:
        found = field_of_view_deg(bag, TOPICS)
    assert found == (None if expected is None else pytest.approx(expected, abs=0.01))


def test_a_damage_is_for_who_reads_the_frames(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "bag", pair("camera", "camera", WIDE, WIDE))
    (file,) = path.glob("*.mcap")
    with open_bag(path) as bag:
        file.write_bytes(file.read_bytes()[:100])
        assert field_of_view_deg(bag, TOPICS) is None


def test_a_camera_that_is_calibrated_later_is_known(tmp_path: Path) -> None:
    later = [
        BROKEN,
        Recorded(INFO["color"], START_NS + 1, camera_info(GRID, COLOR_FRAME, k=np.zeros(9))),
        Recorded(INFO["color"], START_NS + 2, camera_info(WIDE, COLOR_FRAME)),
    ]
    with open_bag(write_bag(tmp_path / "bag", pair("camera", "camera") + later)) as bag:
        assert field_of_view_deg(bag, TOPICS) == pytest.approx(90)


@pytest.mark.parametrize(("color", "expected"), [(WIDE, 90.0), (CROPPED, None), (None, None)])
def test_depth_alone_sees_by_the_camera_of_the_color_that_is_not_used(
    tmp_path: Path, color: CameraModel | None, expected: float | None
) -> None:
    recorded = pair("camera", "camera", color)
    if color is CROPPED:
        wide = image(np.zeros((*CROPPED.size, 3), np.uint8), "rgb8", START_NS)
        recorded[0] = Recorded(COLOR_TOPIC, START_NS, in_frame(wide, "camera"))
    with open_bag(write_bag(tmp_path / "bag", recorded)) as bag:
        found = field_of_view_deg(bag, {"depth": DEPTH_TOPIC})
    assert found == (None if expected is None else pytest.approx(expected))


def test_rectified_topics_see_by_p(tmp_path: Path) -> None:
    projection = np.column_stack((WIDER.matrix, np.zeros(3))).ravel()
    info = camera_info(WIDE, "camera", p=projection)
    seen = image(rgb(1), "rgb8", START_NS)
    bag_of = [Recorded("/rig/color/image_rect", START_NS, seen), Recorded(INFO["color"], START_NS, info)]
    with open_bag(write_bag(tmp_path / "bag", bag_of)) as bag:
        assert field_of_view_deg(bag, {"color": "/rig/color/image_rect"}) == pytest.approx(112.62, abs=0.01)
