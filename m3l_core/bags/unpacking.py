"""What bags hold packed is unpacked within limits: a small file can hold any number of zeros.

rosbags has none of its own, so its tables of decompressors are given these.
"""

from __future__ import annotations

import bz2
import importlib
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, BinaryIO

import lz4.frame  # type: ignore[import-untyped]
from rosbags.rosbag1 import reader as rosbag1_reader
from rosbags.rosbag2 import reader as rosbag2_reader
from rosbags.rosbag2 import storage_mcap

MOST_BYTES = 1 << 28
"""Of a chunk or message, unpacked: recorders write chunks of a few megabytes, or of one message."""
_MOST_DENSE, _SMALL = 1000, 1 << 26
"""Of a file: bytes that one packed byte may stand for, once there are so many."""
_ZSTD = ("compression.zstd", "backports.zstd")
"""Python's own from 3.14 on, and what rosbags uses before."""


def zstd() -> Any:
    """The module that unpacks zstd; None where there is none."""
    for name in _ZSTD:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


class LimitedFile:
    """A packed file, read unpacked.

    Args:
        file: what unpacks it.
        packed: its bytes on disk.
    """

    def __init__(self, file: BinaryIO, packed: int) -> None:
        self._file, self._left = file, max(_SMALL, _MOST_DENSE * packed)

    def read(self, size: int = -1) -> bytes:
        """As of a file.

        Raises:
            EOFError: it is packed more densely than any recording.
        """
        content = self._file.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise EOFError(f"it unpacks to more than {_MOST_DENSE} times its size, as no recording does")
        return content

    def __enter__(self) -> LimitedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def limit_rosbags() -> None:
    """Have rosbags unpack within the limits."""
    unpack_lz4, unpack_bz2 = _within(lz4.frame.LZ4FrameDecompressor), _within(bz2.BZ2Decompressor)
    rosbag1_reader.decompressors.update({"bz2": unpack_bz2, "lz4": unpack_lz4})
    storage_mcap.DECOMPRESSORS["lz4"] = lambda packed, size: unpack_lz4(packed)
    if (module := zstd()) is not None:
        unpack_zstd = _within(module.ZstdDecompressor)
        storage_mcap.DECOMPRESSORS["zstd"] = lambda packed, size: unpack_zstd(packed)
        limited = SimpleNamespace(
            decompress=unpack_zstd,
            open=lambda file, mode: LimitedFile(module.open(file, mode), os.fstat(file.fileno()).st_size),
        )
        rosbag2_reader.zstd = limited  # type: ignore[attr-defined, assignment]


def _within(decompressor: Callable[[], Any]) -> Callable[[bytes], bytes]:
    def unpack(packed: bytes) -> bytes:
        each = decompressor()
        content: bytes = each.decompress(packed, max_length=MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError(f"a part of it unpacks to more than {MOST_BYTES} bytes, as of no recording")
        if not each.eof:
            raise EOFError("a part of it is cut off")
        return content

    return unpack
