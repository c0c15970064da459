"""Labels over color and over depth, and what their colors mean."""

from __future__ import annotations

import numpy as np
import pytest

from m3l_core.labels import LabelSet, SemanticClass
from m3l_core.overlay import class_legend, overlay

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


@pytest.mark.parametrize("width", [40, 240, 900])
def test_the_legend_has_each_class_in_its_color_with_its_name_beside(width: int) -> None:
    colors = [(10 * number, 200, 90) for number in range(1, 15)]
    classes = tuple(SemanticClass(name=f"class {number}", color=color) for number, color in enumerate(colors))
    picture = class_legend(LabelSet(classes=classes), width)
    assert picture.shape[1] == width
    for color in colors:
        rows, columns = np.nonzero((picture == color).all(axis=-1))
        assert len(rows) > 100, "a swatch"
        beside = picture[rows.min() : rows.max(), columns.max() + 1 : columns.max() + 60]
        assert width < 60 or beside.max() > 200, "a name"
    assert (picture.shape[0] > 14 * 20) == (width == 40), "columns are used"


def test_an_image_of_another_size_is_resized_to_the_labels() -> None:
    colors = np.zeros((4, 6, 3), np.uint8)
    colors[:, 3:] = 200
    for image in (np.full((8, 12, 3), 100, np.uint8), np.full((2, 3), 1000, np.uint16)):
        blended = overlay(image, colors, 0.5)
        assert blended.shape == colors.shape
        assert set(np.unique(blended[:, 3:].astype(int) - blended[:, :3])) == {100}
