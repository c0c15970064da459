"""Near is red, far is blue, nothing is black."""

from __future__ import annotations

import numpy as np
import pytest

from m3l_core.false_color import false_color
from m3l_core.modalities import ColorModality, DepthModality, HeightModality, IntensityModality


def redness(picture: np.ndarray) -> list[int]:
    return [int(pixel[0]) - int(pixel[2]) for pixel in picture[0]]


def test_color_stays_as_it_is() -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert np.array_equal(false_color(ColorModality(), image), image)


@pytest.mark.parametrize("unit", ["mm", "m"])
def test_near_is_red_far_is_blue_and_no_return_is_black(unit: str) -> None:
    depth_mm = np.array([[1000, 3000, 5000, 0]], np.uint16)
    image = depth_mm if unit == "mm" else depth_mm.astype(np.float32) / 1000
    picture = false_color(DepthModality(near_m=0.5, far_m=5.5), image)
    assert picture.shape == (1, 4, 3)
    assert picture.dtype == np.uint8
    near, middle, far, _ = redness(picture)
    assert near > middle > far
    assert near > 0 > far
    assert not picture[0, 3].any()


def test_the_colors_do_not_go_beyond_the_range() -> None:
    image = np.array([[0.1, 0.5, 5.5, 60.0]], np.float32)
    nearer, near, far, farther = false_color(DepthModality(near_m=0.5, far_m=5.5), image)[0]
    assert np.array_equal(nearer, near)
    assert np.array_equal(far, farther)


def test_intensity_is_gray_over_its_range() -> None:
    modality = IntensityModality(normalization="range", low=7000, high=8000)
    picture = false_color(modality, np.array([[0, 7500, 60000]], np.uint16))
    assert picture.tolist() == [[[0] * 3, [127] * 3, [255] * 3]]


def test_high_is_red_and_nothing_measured_is_black() -> None:
    picture = false_color(HeightModality(max_m=20.0), np.array([[-3.0, 14.0, np.nan]], np.float32))
    low, high, _ = redness(picture)
    assert low < high
    assert not picture[0, 2].any()
    assert picture[0, 0].any()
