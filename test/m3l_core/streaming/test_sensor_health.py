"""Frames that arrive and are worthless, and the reasons given for each."""

from __future__ import annotations

import gc
import weakref
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from m3l_core.frames import Frame
from m3l_core.streaming.sensor_health import HealthThresholds, SensorHealth

OFF = HealthThresholds(min_valid_depth=0, black_level=-1, saturated_share=0, frozen_frames=0, size_change_frames=0)
ENCODINGS = {"uint8": "rgb8", "uint16": "16UC1", "float32": "32FC1"}


def frame(image: np.ndarray, encoding: str = "") -> Frame:
    return Frame("any", 0, image, encoding=encoding or ENCODINGS[image.dtype.name])


def color(seed: int = 0, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def depth(seed: int = 0, size: tuple[int, int] = (48, 64), dtype: Any = np.uint16) -> np.ndarray:
    millimetres = np.random.default_rng(seed).integers(300, 8000, size)
    return millimetres.astype(np.uint16) if dtype == np.uint16 else (millimetres / 1000).astype(np.float32)


def partly_valid(share: float, invalid: float, dtype: Any) -> np.ndarray:
    """100 x 100, small enough to be looked at whole; the first rows are valid."""
    image = np.full((100, 100), invalid, dtype)
    image[: round(100 * share)] = 2
    return image


@pytest.mark.parametrize(
    ("invalid", "dtype"),
    [
        (0, np.uint16),
        (0, np.float32),
        (np.nan, np.float32),
        (np.inf, np.float32),
        (-np.inf, np.float32),
        (-1, np.float32),
    ],
)
class TestValidDepth:
    def test_too_little(self, invalid: float, dtype: Any) -> None:
        image = partly_valid(0.03, invalid, dtype)
        assert SensorHealth("depth").check(frame(image)) == "3% of the depth is valid, 5% needed"

    def test_none(self, invalid: float, dtype: Any) -> None:
        image = partly_valid(0, invalid, dtype)
        assert SensorHealth("depth").check(frame(image)) == "0% of the depth is valid, 5% needed"

    def test_just_enough(self, invalid: float, dtype: Any) -> None:
        assert SensorHealth("depth").check(frame(partly_valid(0.05, invalid, dtype))) is None

    def test_off(self, invalid: float, dtype: Any) -> None:
        assert SensorHealth("depth", OFF).check(frame(partly_valid(0, invalid, dtype))) is None


def test_a_share_below_the_limit_never_reads_like_the_limit() -> None:
    image = np.zeros((100, 100), np.uint16)
    image.flat[:499] = 1
    assert SensorHealth("depth").check(frame(image)) == "4% of the depth is valid, 5% needed"
    strict = SensorHealth("depth", HealthThresholds(min_valid_depth=0.57))  # 0.57 * 1000 is a bit below 570
    assert strict.check(frame(image)) == "4% of the depth is valid, 57% needed"


@pytest.mark.parametrize("size", [(480, 640), (720, 1280), (1080, 1920)])
def test_the_subsample_sees_what_the_whole_image_shows(size: tuple[int, int]) -> None:
    image = depth(size=size)
    image[np.random.default_rng(1).random(size) > 0.5] = 0
    thresholds = HealthThresholds(min_valid_depth=0.48)
    assert SensorHealth("depth", thresholds).check(frame(image)) is None
    thresholds = HealthThresholds(min_valid_depth=0.52)
    reason = SensorHealth("depth", thresholds).check(frame(image))
    assert reason is not None
    assert reason.endswith("52% needed")


class TestBlack:
    @pytest.mark.parametrize("level", [0, 8])
    def test_black(self, level: int) -> None:
        assert SensorHealth("color").check(frame(np.full((48, 64, 3), level, np.uint8))) == "black image"

    def test_hot_pixels_do_not_save_it(self) -> None:
        image = np.zeros((100, 100, 3), np.uint8)
        image[0] = 255
        assert SensorHealth("color").check(frame(image)) == "black image"

    def test_a_dark_room_is_not_black(self) -> None:
        image = np.zeros((100, 100, 3), np.uint8)
        image[:2] = 9
        assert SensorHealth("color").check(frame(image)) is None

    def test_one_channel_is_enough(self) -> None:
        image = np.zeros((48, 64, 3), np.uint8)
        image[..., 2] = 40
        assert SensorHealth("color").check(frame(image)) is None

    def test_off(self) -> None:
        assert SensorHealth("color", OFF).check(frame(np.zeros((48, 64, 3), np.uint8))) is None


class TestSaturated:
    def test_saturated(self) -> None:
        image = np.full((100, 100, 3), 250, np.uint8)
        image[:5] = 0
        assert SensorHealth("color").check(frame(image)) == "saturated image"

    def test_a_bright_window_is_not_the_whole_image(self) -> None:
        image = np.full((100, 100, 3), 255, np.uint8)
        image[:6] = 0
        assert SensorHealth("color").check(frame(image)) is None

    def test_a_red_wall_is_not_saturated(self) -> None:
        assert SensorHealth("color").check(frame(np.full((48, 64, 3), (255, 255, 249), np.uint8))) is None

    def test_off(self) -> None:
        assert SensorHealth("color", OFF).check(frame(np.full((48, 64, 3), 255, np.uint8))) is None


class TestFrozen:
    THRESHOLDS = HealthThresholds(frozen_frames=3)

    @pytest.mark.parametrize("image", [color(), depth(), depth(dtype=np.float32)], ids=["rgb8", "16UC1", "32FC1"])
    def test_frozen_and_recovery(self, image: np.ndarray) -> None:
        health = SensorHealth("color" if image.ndim == 3 else "depth", self.THRESHOLDS)
        reasons = [health.check(frame(image.copy())) for _ in range(4)]
        assert reasons == [None, None, *["same image 3 or more times in a row"] * 2]
        other = image.copy()
        other.flat[-1] += 1
        assert health.check(frame(other)) is None
        assert health.check(frame(image)) is None

    def test_default(self) -> None:
        health = SensorHealth("color")
        reasons = [health.check(frame(color())) for _ in range(30)]
        assert reasons[:29] == [None] * 29
        assert reasons[29] == "same image 30 or more times in a row"

    def test_nan_does_not_hide_it(self) -> None:
        image = depth(dtype=np.float32)
        image[::2] = np.nan
        health = SensorHealth("depth", self.THRESHOLDS)
        assert [health.check(frame(image.copy())) for _ in range(3)][-1] == "same image 3 or more times in a row"

    def test_one_pixel_between_the_samples_counts(self) -> None:
        image = color(size=(480, 640))
        other = image.copy()
        other[1, 1, 1] ^= 1
        health = SensorHealth("color", HealthThresholds(frozen_frames=2))
        assert [health.check(frame(each)) for each in (image, other, image)] == [None] * 3

    def test_padded_rows(self) -> None:
        health = SensorHealth("depth", HealthThresholds(frozen_frames=2))
        first, second = depth(size=(48, 70))[:, :64], depth(size=(48, 70))[:, :64].copy()
        assert health.check(frame(first)) is None
        assert health.check(frame(second)) == "same image 2 or more times in a row"

    def test_same_bytes_of_another_type_are_another_image(self) -> None:
        health = SensorHealth("depth", HealthThresholds(frozen_frames=2, size_change_frames=0))
        image = depth(dtype=np.float32)
        assert health.check(frame(image)) is None
        assert health.check(frame(image.view(np.uint16)[:, ::2])) is None

    def test_off(self) -> None:
        health = SensorHealth("color", HealthThresholds(frozen_frames=0))
        assert {health.check(frame(color())) for _ in range(100)} == {None}

    def test_a_black_frozen_image_is_called_black_and_still_counts(self) -> None:
        health = SensorHealth("color", self.THRESHOLDS)
        assert {health.check(frame(np.zeros((48, 64, 3), np.uint8))) for _ in range(5)} == {"black image"}

    def test_only_one_previous_frame_is_kept(self) -> None:
        health, images = SensorHealth("color"), [color(seed) for seed in range(4)]
        alive = [weakref.ref(image) for image in images]
        while images:
            health.check(frame(images.pop(0)))
        gc.collect()
        assert [each() is not None for each in alive] == [False, False, False, True]


class TestSizeAndEncoding:
    THRESHOLDS = HealthThresholds(size_change_frames=3, frozen_frames=0)

    def test_size_changes_and_is_accepted(self) -> None:
        health = SensorHealth("color", self.THRESHOLDS)
        large, small = frame(color(size=(480, 640))), frame(color(size=(240, 320)))
        reasons = [health.check(each) for each in (large, small, small, small, small, large)]
        became, back = "size 640x480 became 320x240", "size 320x240 became 640x480"
        assert reasons == [None, became, became, None, None, back]

    def test_default(self) -> None:
        health, small = SensorHealth("color"), frame(color(size=(24, 32)))
        reasons = [health.check(each) for each in (frame(color()), *[small] * 10)]
        assert reasons == [None, *["size 64x48 became 32x24"] * 9, None]

    def test_frames_that_do_not_agree_in_a_row_are_refused(self) -> None:
        health = SensorHealth("color", self.THRESHOLDS)
        large, small = frame(color(size=(480, 640))), frame(color(size=(240, 320)))
        assert [health.check(each) is None for each in (large, small, small, large, small, small)] == [
            True, False, False, True, False, False,
        ]  # fmt: skip

    def test_encoding(self) -> None:
        health = SensorHealth("depth", self.THRESHOLDS)
        assert health.check(frame(depth())) is None
        assert health.check(frame(depth(dtype=np.float32))) == "encoding 16UC1 became 32FC1"

    def test_the_size_counts_while_the_image_is_black(self) -> None:
        health = SensorHealth("color", self.THRESHOLDS)
        black = frame(np.zeros((24, 32, 3), np.uint8))
        reasons = [health.check(each) for each in (frame(color()), black, black, black)]
        assert reasons == [None, *["size 64x48 became 32x24"] * 2, "black image"]

    def test_off(self) -> None:
        health = SensorHealth("color", HealthThresholds(size_change_frames=0))
        sizes = [(10, 20), (20, 10), (10, 20)]
        assert {health.check(frame(color(size=size))) for size in sizes} == {None}


@pytest.mark.parametrize(
    ("name", "value", "limits"),
    [
        ("min_valid_depth", -0.1, "between 0 and 1"),
        ("min_valid_depth", 5, "between 0 and 1"),
        ("min_valid_depth", float("nan"), "between 0 and 1"),
        ("black_level", -2, "between -1 and 254"),
        ("black_level", 255, "between -1 and 254"),
        ("saturated_share", 95, "between 0 and 1"),
        ("frozen_frames", 1, "0 .off. or 2 or more"),
        ("frozen_frames", -1, "0 .off. or 2 or more"),
        ("size_change_frames", -1, "0 .off. or more"),
        ("max_megapixels", 0, "1 or more"),
    ],
)
def test_bad_threshold(name: str, value: float, limits: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be {limits}, got {value}"):
        HealthThresholds(**{name: value})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("min_valid_depth", (0, 1)),
        ("black_level", (-1, 254)),
        ("saturated_share", (0, 1)),
        ("frozen_frames", (0, 2)),
        ("size_change_frames", (0, 1)),
        ("max_megapixels", (1,)),
    ],
)
def test_thresholds_at_their_limits(name: str, values: tuple[float, ...]) -> None:
    for value in values:
        assert getattr(HealthThresholds(**{name: value}), name) == value  # type: ignore[arg-type]


def test_thresholds_are_replaced_and_not_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        HealthThresholds().black_level = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.full((48, 64), 8, np.uint8), "black image"),
        (np.full((48, 64), 250, np.uint8), "saturated image"),
        (np.arange(48 * 64, dtype=np.uint8).reshape(48, 64), None),
        (np.full((48, 64), 8000, np.uint16), "image without contrast"),
        (np.zeros((48, 64), np.uint16), "image without contrast"),
        (np.arange(48 * 64, dtype=np.uint16).reshape(48, 64), None),  # most of it below 8 of 255
        (np.zeros((0, 64), np.uint16), "empty image"),
    ],
)
def test_an_image_of_one_channel(image: np.ndarray, reason: str | None) -> None:
    assert SensorHealth("intensity").check(frame(image)) == reason


def test_heights_in_metres_may_lie_below_zero() -> None:
    heights = np.full((48, 64), -3.0, np.float32)
    assert SensorHealth("height").check(frame(heights)) is None
    assert SensorHealth("depth").check(frame(heights)) == "0% of the depth is valid, 5% needed"
    heights[:] = np.nan
    assert SensorHealth("height").check(frame(heights)) == "0% of the height is valid, 5% needed"


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="color, depth, height, intensity, got 'lidar'"):
        SensorHealth("lidar")  # type: ignore[arg-type]


SIZES = st.tuples(st.integers(0, 40), st.integers(0, 40))


@pytest.mark.filterwarnings("error")
@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from([np.uint8, np.uint16, np.float32]))
def test_never_raises_and_gives_short_reasons(data: st.DataObject, dtype: Any) -> None:
    kind: Any = "color" if dtype == np.uint8 else "depth"
    health = SensorHealth(kind, HealthThresholds(frozen_frames=2, size_change_frames=2))
    for _ in range(3):
        size = data.draw(SIZES)
        image = data.draw(hnp.arrays(dtype, (*size, 3) if kind == "color" else size))
        reason = health.check(frame(image))
        assert reason is None or 0 < len(reason) < 60


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(8, 200), st.integers(8, 200))
def test_noisy_textured_images_are_healthy(seed: int, height: int, width: int) -> None:
    eyes, range_finder = SensorHealth("color"), SensorHealth("depth")
    for step in range(3):
        assert eyes.check(frame(color(seed + step, (height, width)))) is None
        assert range_finder.check(frame(depth(seed + step, (height, width)))) is None


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.float32, (12, 12)), st.floats(0.01, 1))
def test_depth_is_judged_by_its_share_of_valid_pixels(image: np.ndarray, needed: float) -> None:
    valid = sum(1 for value in image.flat if 0 < value < float("inf")) / image.size
    health = SensorHealth("depth", HealthThresholds(min_valid_depth=needed))
    assert (health.check(frame(image)) is None) == (valid >= needed)
