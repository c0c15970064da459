"""The decoder against an encoder that was written number by number, and damage that it must not follow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rvl import encode_rvl

from m3l_core.streaming.rvl import decode_rvl

PIXEL = st.one_of(st.just(0), st.integers(0, 65535), st.integers(990, 1010))


def decoded(body: bytes, height: int, width: int) -> np.ndarray:
    return decode_rvl(np.frombuffer(body, np.uint8), height, width)


def test_the_bytes_of_an_image_written_by_hand() -> None:
    # Two 0, two others: 5 more than nothing is 10, in nibbles 1|010 and 0|001; 1 less is 1. One 0, no other.
    body = bytes.fromhex("22a11100")[::-1]
    assert encode_rvl([0, 0, 5, 4, 0]) == body
    np.testing.assert_array_equal(decoded(body, 1, 5), [[0, 0, 5, 4, 0]])


@settings(max_examples=200, deadline=None)
@given(st.lists(PIXEL, min_size=1, max_size=200), st.binary(max_size=20))
def test_round_trip_with_stale_bytes_behind(pixels: list[int], stale: bytes) -> None:
    depth = decoded(encode_rvl(pixels) + stale, 1, len(pixels))
    assert depth.dtype == np.uint16
    np.testing.assert_array_equal(depth, [pixels])


def test_rows_follow_one_another() -> None:
    image = np.random.default_rng(3).integers(0, 3000, (12, 17)) * (np.indices((12, 17)).sum(axis=0) % 5 > 1)
    np.testing.assert_array_equal(decoded(encode_rvl(image.ravel().tolist()), 12, 17), image)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.lists(st.integers(1, 65535), min_size=30, max_size=60))
def test_every_truncation_is_refused(data: st.DataObject, pixels: list[int]) -> None:
    body = encode_rvl(pixels)
    cut = data.draw(st.integers(0, len(body) - 4))
    with pytest.raises(ValueError, match="ends before the image does"):
        decoded(body[:cut], 1, len(pixels))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(1, 9), st.integers(1, 9))
def test_any_bytes_give_an_image_of_the_size_or_an_error(body: bytes, height: int, width: int) -> None:
    try:
        assert decoded(body, height, width).shape == (height, width)
    except ValueError as error:
        assert "image" in str(error)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "ends before"),
        (b"\0" * 4000, "runs of pixels"),  # runs of nothing, for ever
        (encode_rvl([0] * 50), "runs of pixels"),  # of a larger image
        (b"\xff" * 4000, "ends before"),  # one number without an end
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f" * 8, "runs of pixels"),  # a number of more bits than any count
    ],
)
def test_what_is_no_image_is_told(body: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decoded(body, 5, 4)


def test_a_difference_of_too_many_bits_is_told() -> None:
    nibbles = [0, 1, *[0xF] * 11, 0]
    word = lambda part: int("".join(f"{nibble:x}" for nibble in part), 16).to_bytes(4, "little")  # noqa: E731
    nibbles += [0] * (-len(nibbles) % 8)
    body = b"".join(word(nibbles[at : at + 8]) for at in range(0, len(nibbles), 8))
    with pytest.raises(ValueError, match="a number that is none of an image"):
        decoded(body, 1, 1)
