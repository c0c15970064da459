"""Chains of static transforms, as a bag has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bags import START_NS, Recorded, write_bag
from support.two_cameras import COLOR_FRAME, DEPTH_FRAME, DEPTH_TO_COLOR, rig_links, static_transforms, turned

from m3l_core.bags.reader import open_bag
from m3l_core.registration.static_transforms import StaticTransforms, read_static_transforms

numbers = st.tuples(*[st.floats(-1.5, 1.5)] * 3)
A, B, C = turned((0.1, 0.2, 0.3), (1, 2, 3)), turned((-0.4, 0, 0.2), (0, 0.5, 0)), turned((0, 1.0, 0), (0.2, 0, 0))


def read(tmp_path: Path, *messages: object, topic: str = "/tf_static") -> StaticTransforms:
    bag = write_bag(tmp_path / "bag", [Recorded(topic, START_NS + n, message) for n, message in enumerate(messages)])
    with open_bag(bag) as opened:
        return read_static_transforms(opened)


def test_a_point_goes_from_one_camera_to_the_other(tmp_path: Path) -> None:
    found = read(tmp_path, rig_links())
    np.testing.assert_allclose(found.between(DEPTH_FRAME, COLOR_FRAME), DEPTH_TO_COLOR, atol=1e-12)
    np.testing.assert_allclose(found.between(COLOR_FRAME, DEPTH_FRAME), np.linalg.inv(DEPTH_TO_COLOR), atol=1e-12)
    assert found.between(DEPTH_FRAME, "laser") is None


def test_links_come_from_several_publishers_and_the_last_word_counts(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        static_transforms(("base", "/left", C)),
        static_transforms(("/base", "right", B)),
        static_transforms(("base", "left", A)),
        topic="/robot1/tf_static",
    )
    np.testing.assert_allclose(found.between("left", "right"), np.linalg.inv(B) @ A, atol=1e-12)


@given(numbers, numbers, numbers)
def test_there_and_back_is_nothing(
    first: tuple[float, ...], second: tuple[float, ...], shift: tuple[float, ...]
) -> None:
    links = {"a": ("root", turned(first, shift)), "b": ("a", turned(second)), "c": ("root", turned(shift, second))}
    found = StaticTransforms(links)
    there, back = found.between("b", "c"), found.between("c", "b")
    np.testing.assert_allclose(there @ back, np.eye(4), atol=1e-9)
    np.testing.assert_array_equal(found.between("b", "b"), np.eye(4))


def test_frames_above_each_other_have_an_end(tmp_path: Path) -> None:
    found = read(tmp_path, static_transforms(("a", "b", A), ("b", "a", B), ("root", "c", C)))
    assert found.between("b", "a") is not None
    assert found.between("b", "c") is None


@pytest.mark.parametrize("broken", [b"\0\1\0\0", None], ids=["bytes", "no rotation"])
def test_what_is_broken_is_left_out(tmp_path: Path, broken: bytes | None) -> None:
    good, bad = static_transforms(("a", "b", A)), static_transforms(("a", "c", A))
    bad.transforms[0].transform.rotation.w = bad.transforms[0].transform.rotation.x = 0.0
    bad.transforms[0].transform.rotation.y = bad.transforms[0].transform.rotation.z = 0.0
    second = Recorded("/tf_static", START_NS + 1, broken or bad, "tf2_msgs/msg/TFMessage")
    with open_bag(write_bag(tmp_path / "bag", [Recorded("/tf_static", START_NS, good), second])) as bag:
        found = read_static_transforms(bag)
    assert found.between("b", "a") is not None
    assert found.between("c", "a") is None
