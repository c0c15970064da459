"""Pictures are read as what they say they are, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.published import random_color, write

from m3l_core.errors import DatasetError
from m3l_core.published.layout import read_color, read_surface, to_millimetres

SIZE = (6, 8)


def test_depth_in_millimetres_ends_where_16_bits_do() -> None:
    depth_m = np.array([[0.0001, 1.2345, 65.6, 900.0, np.nan, 3.0]])
    valid = np.array([[True, True, True, True, False, False]])
    assert to_millimetres(depth_m, valid).tolist() == [[1, 1234, 65535, 65535, 0, 0]]


def test_pictures_of_other_kinds_are_refused(tmp_path: Path) -> None:
    deep = write(tmp_path / "deep.png", np.zeros((2, 2, 3), np.uint16))
    with pytest.raises(DatasetError, match="expected 8-bit pixels, found uint16"):
        read_color(deep)
    with pytest.raises(DatasetError, match=r"expected \(H, W\) float32 heights, found \(2, 2, 3\) uint16"):
        read_surface(deep)
    (tmp_path / "none.png").write_bytes(b"none")
    with pytest.raises(DatasetError, match="cannot be read as an image"):
        read_color(tmp_path / "none.png")


def test_numbers_that_stand_for_no_height_become_nan(tmp_path: Path) -> None:
    stored: NDArray[np.float32] = np.array([[-9999.0, -3.4e38, np.nan, -400.0, 0.0, 8848.0]], np.float32)
    heights = read_surface(write(tmp_path / "dsm.tif", stored))
    np.testing.assert_array_equal(heights, np.array([[np.nan, np.nan, np.nan, -400.0, 0.0, 8848.0]], np.float32))


def test_color_pictures_come_with_one_three_or_four_channels(tmp_path: Path) -> None:
    color = random_color(3)
    np.testing.assert_array_equal(read_color(write(tmp_path / "rgb.png", color)), color)
    opaque = np.dstack([color, np.full(SIZE, 7, np.uint8)])
    np.testing.assert_array_equal(read_color(write(tmp_path / "rgba.png", opaque)), color)
    gray = color[..., 0]
    np.testing.assert_array_equal(
        read_color(write(tmp_path / "gray.png", gray)), np.repeat(gray[..., None], 3, axis=-1)
    )
