"""Labels over color and over depth."""

from __future__ import annotations

import numpy as np
import pytest

from m3l_core.overlay import overlay

RED = np.full((2, 3, 3), (200, 0, 0), np.uint8)


def test_color_shines_through_as_it_is() -> None:
    color = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    np.testing.assert_array_equal(overlay(color, RED, 0.0), color)
    np.testing.assert_array_equal(overlay(color, RED, 1.0), RED)
    half = overlay(color, RED, 0.5)
    assert half.dtype == np.uint8
    np.testing.assert_allclose(half, (color.astype(float) + RED) / 2, atol=0.5)


@pytest.mark.parametrize(("dtype", "metre", "invalid"), [(np.uint16, 1000, 0), (np.float32, 1, np.nan)])
def test_depth_is_gray_near_is_bright_and_invalid_is_black(dtype: type, metre: int, invalid: float) -> None:
    depth = np.array([[1 * metre, 2 * metre, 4 * metre], [invalid, invalid, 4 * metre]]).astype(dtype)
    gray = overlay(depth, RED, 0.0)
    assert (gray == gray[..., :1]).all()
    first, second = gray[..., 0]
    assert first[0] > first[1] > first[2] > 0
    assert second.tolist() == [0, 0, first[2]]


@pytest.mark.parametrize(("dtype", "count"), [(np.uint8, 40), (np.uint16, 7000)])
def test_intensity_is_gray_from_its_darkest_to_its_brightest(dtype: type, count: int) -> None:
    image = np.array([[0, 1, 2], [3, 4, 5]], dtype) + dtype(count)
    gray = overlay(image, RED, 0.0, "intensity")
    assert (gray == gray[..., :1]).all()
    levels = gray[..., 0].ravel().tolist()
    assert levels == sorted(levels) and (levels[0], levels[-1]) == (0, 255)


def test_depth_without_a_valid_pixel_is_black() -> None:
    assert not overlay(np.zeros((2, 3), np.uint16), RED, 0.0).any()
