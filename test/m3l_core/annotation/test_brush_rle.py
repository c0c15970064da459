"""Label Studio's run lengths, against bits that were put down by hand and bytes that the tool itself wrote."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from m3l_core.annotation.brush_rle import decode_brush, encode_brush

MASKS = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=40))
HEADER = f"{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))


def packed(bits: str) -> list[int]:
    bits += "0" * (-len(bits) % 8)
    return [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]


@settings(deadline=None)
@given(MASKS)
def test_a_mask_comes_back(mask: NDArray[np.bool_]) -> None:
    rle = encode_brush(mask)
    assert len(rle) % 4 == 0
    assert all(0 <= byte <= 255 for byte in rle)
    np.testing.assert_array_equal(decode_brush(rle, (mask.shape[0], mask.shape[1])), mask)


def test_a_long_run_is_dealt_out_to_several_counts() -> None:
    mask = np.zeros((300, 400), np.bool_)
    mask[150:] = True
    np.testing.assert_array_equal(decode_brush(encode_brush(mask), (300, 400)), mask)
    assert len(encode_brush(mask)) < 64


def test_the_header_is_that_of_the_tool() -> None:
    # The first bytes of a region of 3332x2527 pixels that Label Studio exported; it begins with 65536 equal words.
    exported = [2, 1, 233, 240, 57, 27, 255, 255, 255, 0, 255, 255, 224, 31]
    assert encode_brush(np.zeros((2527, 3332), np.bool_))[: len(exported)] == exported


def test_bits_by_hand() -> None:
    # Two pixels: the first red and opaque, word by word; the second four words of 0, at once.
    words = "0" + "00" + f"{3:03b}" + f"{255:08b}{0:08b}{0:08b}{255:08b}"
    run = "1" + "01" + f"{3:04b}" + f"{0:08b}"
    assert decode_brush(packed(f"{8:032b}{HEADER}{words}{run}"), (1, 2)).tolist() == [[True, False]]


@pytest.mark.parametrize(("alpha", "inside"), [(1, False), (127, False), (128, True), (255, True)])
def test_a_pixel_that_is_half_covered_belongs_to_the_region(alpha: int, inside: bool) -> None:
    words = "0" + "00" + f"{3:03b}" + f"{0:08b}{0:08b}{0:08b}{alpha:08b}"
    assert decode_brush(packed(f"{4:032b}{HEADER}{words}"), (1, 1)).tolist() == [[inside]]


@given(st.lists(st.integers(0, 255), max_size=30))
def test_other_bytes_are_refused(rle: list[int]) -> None:
    with pytest.raises(ValueError, match=r"they|their"):
        decode_brush(rle, (640, 480))


@pytest.mark.parametrize(
    ("bits", "reason"),
    [
        (f"{8:032b}{HEADER}", "they are of 8 words, an image of 1x1 has 4"),
        (f"{4:032b}{15:05b}{HEADER[5:]}", "their words have not 8 bits"),
        (f"{4:032b}{HEADER}1", "they end too early"),
        (f"{4:032b}{HEADER}100{7:03b}{0:08b}", "they hold more words than they should"),
    ],
)
def test_what_is_wrong_is_told(bits: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_brush(packed(bits), (1, 1))
