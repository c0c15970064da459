"""RVL as its paper writes it down, number by number: what the decoder is held to."""

from __future__ import annotations

import struct
from itertools import groupby


def encode_rvl(pixels: list[int]) -> bytes:
    """The body of an image, row after row: nibbles in 32-bit words, the first in the highest bits."""
    nibbles: list[int] = []

    def put(number: int) -> None:
        while number > 7:
            nibbles.append(number & 7 | 8)
            number >>= 3
        nibbles.append(number)

    previous = 0
    runs = [(is_measured, list(run)) for is_measured, run in groupby(pixels, key=bool)]
    if runs and runs[0][0]:
        runs.insert(0, (False, []))
    if len(runs) % 2:
        runs.append((True, []))
    for zeros, measured in zip(runs[::2], runs[1::2], strict=True):
        put(len(zeros[1]))
        put(len(measured[1]))
        for pixel in measured[1]:
            difference = pixel - previous
            put(2 * difference if difference >= 0 else -2 * difference - 1)
            previous = pixel
    nibbles += [0] * (-len(nibbles) % 8)
    eights = [nibbles[at : at + 8] for at in range(0, len(nibbles), 8)]
    words = [sum(nibble << (28 - 4 * place) for place, nibble in enumerate(eight)) for eight in eights]
    return struct.pack(f"<{len(words)}I", *words)
