"""Label images by stamp: one at a time in memory, however many there are."""

from __future__ import annotations

import struct
import tempfile
import zlib
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from m3l_core.datasets.folder import read_image

_HEADER = struct.Struct("<3I")


class LabelImage(NamedTuple):
    """Labels of one instant."""

    stamp_ns: int
    ids: NDArray[np.uint8]
    """(H, W) uint8 class ids, 255 = unlabelled."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        height, width = self.ids.shape
        return height, width


class LabelImages(Protocol):
    """What labels can be compared with."""

    def __len__(self) -> int: ...

    def nearest(self, stamp_ns: int, within_ns: int) -> LabelImage | None:
        """The one nearest to a stamp, if there is one within that distance.

        Raises:
            DatasetError: it cannot be read.
        """
        ...


class LabelFiles:
    """8-bit png files, read when they are asked for.

    Args:
        files: stamp in ns -> file.
    """

    def __init__(self, files: Mapping[int, Path]) -> None:
        self.files = files
        self._stamps = sorted(files)

    def __len__(self) -> int:
        return len(self.files)

    def nearest(self, stamp_ns: int, within_ns: int) -> LabelImage | None:
        found = _nearest(self._stamps, stamp_ns, within_ns)
        return None if found is None else self.read(found)

    def read(self, stamp_ns: int) -> LabelImage:
        return LabelImage(stamp_ns, read_image(self.files[stamp_ns], "label"))


class LabelStore:
    """Label images put by one after another, packed into a temporary file that ``with`` removes.

    Of several with one stamp the first counts.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="m3l_labels_")  # noqa: SIM115  __exit__ closes it
        self._offsets: dict[int, int] = {}
        self._stamps: list[int] = []

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._stamps)

    def add(self, stamp_ns: int, ids: NDArray[np.uint8]) -> None:
        """Keep (H, W) uint8 class ids.

        Raises:
            OSError: the disk is full.
        """
        if stamp_ns in self._offsets:
            return
        packed = zlib.compress(ids.tobytes(), 1)
        self._offsets[stamp_ns] = self._file.seek(0, 2)
        self._file.write(_HEADER.pack(*ids.shape, len(packed)) + packed)
        insort(self._stamps, stamp_ns)

    def nearest(self, stamp_ns: int, within_ns: int) -> LabelImage | None:
        found = _nearest(self._stamps, stamp_ns, within_ns)
        if found is None:
            return None
        self._file.seek(self._offsets[found])
        height, width, length = _HEADER.unpack(self._file.read(_HEADER.size))
        ids = np.frombuffer(zlib.decompress(self._file.read(length)), np.uint8)
        return LabelImage(found, ids.reshape(height, width))


def _nearest(stamps: Sequence[int], stamp_ns: int, within_ns: int) -> int | None:
    """Of sorted stamps the nearest, the older of two equally near."""
    place = bisect_left(stamps, stamp_ns)
    near = min(stamps[max(0, place - 1) : place + 1], key=lambda other: abs(other - stamp_ns), default=None)
    return None if near is None or abs(near - stamp_ns) > within_ns else near
