"""Label Studio's run lengths of brushed regions: RGBA words packed by thi.ng/rle-pack.

The format, as https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack describes it, bit by bit: 32 bits
number of words; 5 bits word size less 1; four times 4 bits, the sizes of counts less 1; then chunks of 1 bit (1 = a
word that repeats, 0 = words one by one), 2 bits which of the four sizes, the count less 1, and the word or words. Label
Studio packs an image of 8-bit words, four a pixel, row by row. The fourth is alpha: a stroke's rim is fainter than its
middle, and what was erased is not always 0, so the region is where at least half of a pixel is covered.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_WORD = 8
_COUNT_BITS = (3, 4, 8, 16)
_CHANNELS = 4
_COVERED = 128
_PADDED = 32
"""Some versions of Label Studio take only a multiple of four bytes; what is after the last word is not read."""


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """(H, W) bool -> bytes; the region is opaque white."""
    flat = mask.ravel()
    bounds = [0, *(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), flat.size]
    bits = [f"{flat.size * _CHANNELS:032b}{_WORD - 1:05b}", *(f"{size - 1:04b}" for size in _COUNT_BITS)]
    for start, end in pairwise(bounds):
        count, word = (end - start) * _CHANNELS, 255 if flat[start] else 0
        while count:
            part = min(count, 1 << _COUNT_BITS[-1])
            place, size = next((place, size) for place, size in enumerate(_COUNT_BITS) if part <= 1 << size)
            bits.append(f"1{place:02b}{part - 1:0{size}b}{word:08b}")
            count -= part
    text = "".join(bits)
    text += "0" * (-len(text) % _PADDED)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def decode_brush(packed: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Bytes -> (H, W) bool.

    Raises:
        ValueError: they are not such bytes, or of an image of another size.
    """
    bits = _Bits(bytes(packed))
    count = bits.read(32)
    if count != size[0] * size[1] * _CHANNELS:
        raise ValueError(f"they are of {count} words, an image of {size[1]}x{size[0]} has {size[0] * size[1] * 4}")
    if bits.read(5) != _WORD - 1:
        raise ValueError("their words have not 8 bits")
    sizes = [bits.read(4) + 1 for _ in _COUNT_BITS]
    words = np.empty(count, np.uint8)
    filled = 0
    while filled < count:
        repeats, length = bits.read(1), bits.read(sizes[bits.read(2)]) + 1
        if filled + length > count:
            raise ValueError("they hold more words than they should")
        words[filled : filled + length] = bits.read(_WORD) if repeats else bits.read_bytes(length)
        filled += length
    alpha = words.reshape(*size, _CHANNELS)[..., 3]
    return alpha >= _COVERED


class _Bits:
    """Reads bits from the first to the last."""

    def __init__(self, packed: bytes) -> None:
        self._text = f"{int.from_bytes(packed, 'big'):0{8 * len(packed)}b}" if packed else ""
        self._position = 0

    def read(self, count: int) -> int:
        end = self._position + count
        if end > len(self._text):
            raise ValueError("they end too early")
        self._position, text = end, self._text[self._position : end]
        return int(text, 2)

    def read_bytes(self, count: int) -> NDArray[np.uint8]:
        return np.array([self.read(_WORD) for _ in range(count)], np.uint8)
