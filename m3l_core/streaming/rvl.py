"""RVL, the lossless code of depth images that compressedDepth, Azure Kinect and Orbbec use.

A. D. Wilson, "Fast lossless depth image compression", ISS 2017. An image is a row of numbers: by turns how many pixels
are 0, how many are not, and for each of those its difference from the last one that was not. A number is written in
nibbles of three bits, the least first; the fourth bit says that another nibble follows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MOST_NIBBLES = 10
"""Of a number: its 30 bits count more pixels than any image has."""
_NIBBLES_A_PIXEL = 6
"""At most: two pixels differ by 17 bits, and the two counts of a run are paid for by the pixels that it skips."""


def decode_rvl(body: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint16]:
    """Decode an image; what follows its last pixel is not looked at.

    Args:
        body: (N,) uint8: little-endian words of 32 bits, the first nibble in the highest ones.
        height: of the image, at least 1.
        width: of the image, at least 1.

    Returns:
        (H, W) uint16, 0 where nothing was measured.

    Raises:
        ValueError: the body ends before the image does, or is no such code.
    """
    num_pixels = height * width
    longest = (_NIBBLES_A_PIXEL * num_pixels + 2 * _MOST_NIBBLES) // 2
    numbers = _numbers(body[: min(longest, body.size) // 4 * 4])
    counts, used = _runs(numbers, num_pixels)
    is_measured = np.repeat(np.arange(counts.size) % 2 == 1, counts)
    # Between the two counts of a run and those of the next lie its differences.
    is_difference = np.ones(used, np.bool_)
    first = np.concatenate(([0], (counts[1::2] + 2).cumsum()[:-1]))
    is_difference[first] = is_difference[first + 1] = False
    differences = numbers[:used][is_difference]
    image = np.zeros(num_pixels, np.uint16)
    image[is_measured] = ((differences >> 1) ^ -(differences & 1)).cumsum(dtype=np.int32).astype(np.uint16)
    return image.reshape(height, width)


def _numbers(body: NDArray[np.uint8]) -> NDArray[np.int32]:
    """All numbers of the body at once; one that is cut off at its end is left out, one too long becomes -1."""
    octets = np.frombuffer(body.tobytes(), "<u4").byteswap().view(np.uint8)
    nibbles = np.zeros(1 + 2 * octets.size, np.uint8)  # one in front, as if a number ended there
    np.right_shift(octets, 4, out=nibbles[1::2])
    np.bitwise_and(octets, 15, out=nibbles[2::2])
    ends = np.flatnonzero(nibbles < 8)
    lengths, ends = np.diff(ends), ends[1:]
    numbers = nibbles[ends].astype(np.int32)
    longer = np.flatnonzero(lengths > 1)
    for place in range(1, _MOST_NIBBLES):
        numbers[longer] = numbers[longer] << 3 | nibbles[ends[longer] - place] & 7
        longer = longer[lengths[longer] > place + 1]
    numbers[longer] = -1
    return numbers


def _runs(numbers: NDArray[np.int32], num_pixels: int) -> tuple[NDArray[np.int64], int]:
    """Pixels that are 0 and that are not, by turns, and how many of the numbers the image takes."""
    counts: list[int] = []
    at, left, known = 0, num_pixels, numbers.data  # faster one by one than the array
    while left:
        if at + 1 >= numbers.size:
            raise ValueError("it ends before the image does")
        zero, measured = known[at], known[at + 1]
        if min(zero, measured) < 0 or not 0 < zero + measured <= left:
            raise ValueError("its runs of pixels are not those of an image")
        counts += zero, measured
        left -= zero + measured
        at += 2 + measured
    if at > numbers.size:
        raise ValueError("it ends before the image does")
    if at and numbers[:at].min() < 0:
        raise ValueError("it holds a number that is none of an image")
    return np.array(counts), at
