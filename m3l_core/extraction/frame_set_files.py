"""The files of a frame set: color as it was recorded or as png, depth as 16-bit png in millimetres."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.bags.frame_sets import MODALITIES, RecordedFrame
from m3l_core.errors import ImageMessageError
from m3l_core.extraction.frame_index import sha256
from m3l_core.files import replacing_file
from m3l_core.frames import Frame, FrameSet
from m3l_core.published.layout import to_millimetres
from m3l_core.registration.depth_registration import DepthRegistration

_PNG_HEAD = b"\x89PNG"
_HEADER_BYTES = 16  # at most so many before the png of a compressedDepth


class WrittenSet(NamedTuple):
    """What became of a frame set."""

    entry: dict[str, Any]
    """Of ``frame_index.py``."""
    written: int
    """Files; the others were there already."""
    useless: dict[str, str]
    """Modality -> why its frame could not be registered."""


def write_frame_set(
    folder: Path, recording: str, registration: DepthRegistration | None, frame_set: FrameSet
) -> WrittenSet:
    """Write what is not there yet of a frame set: ``folder/MODALITY/STAMP_NS.png`` or ``.jpg``.

    Raises:
        OSError: a file cannot be written.
    """
    stamp_ns = frame_set.reference_frame.stamp_ns
    files: dict[str, str | None] = dict.fromkeys(MODALITIES)
    hashes: dict[str, str] = {}
    useless: dict[str, str] = {}
    written = 0
    for name, frame in frame_set.frames.items():
        suffix, make = _content(frame, registration)
        path = folder / name / f"{stamp_ns}{suffix}"
        try:
            new, content = written_once(path, make)
        except ImageMessageError as error:
            useless[name] = str(error)
            continue
        written += new
        files[name] = f"{name}/{path.name}"
        hashes[name] = sha256(content)
    used = {name: frame for name, frame in frame_set.frames.items() if name not in useless}
    entry = {
        "recording": recording,
        "stamp_ns": stamp_ns,
        **files,
        "offsets_ns": {name: frame.stamp_ns - stamp_ns for name, frame in used.items()},
        "missing": {**frame_set.missing, **useless},
        "sha256": hashes,
    }
    return WrittenSet(entry, written, useless)


def written_once(path: Path, make: Callable[[], bytes]) -> tuple[bool, bytes]:
    """Whether the file was not there yet, and what is in it."""
    if path.exists():
        return False, path.read_bytes()
    content = make()
    with replacing_file(path) as temporary:
        temporary.write_bytes(content)
    return True, content


def as_png(pixels: NDArray[Any]) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def _content(frame: Frame, registration: DepthRegistration | None) -> tuple[str, Callable[[], bytes]]:
    """Suffix and content of the file of a frame."""
    recorded = frame.compressed if isinstance(frame, RecordedFrame) else None
    carried = b"" if recorded is None else recorded.tobytes()
    if frame.modality != "depth":
        if not carried:
            return ".png", lambda: as_png(cv2.cvtColor(frame.data, cv2.COLOR_RGB2BGR))
        return ".png" if carried.startswith(_PNG_HEAD) else ".jpg", lambda: carried
    if registration is not None:
        return ".png", lambda: as_png(_registered(frame.data, registration))
    head = carried.find(_PNG_HEAD, 0, _HEADER_BYTES)
    if head >= 0 and frame.data.dtype == np.uint16:  # no quantized metres
        return ".png", lambda: carried[head:]
    return ".png", lambda: as_png(_millimetres(frame.data))


def _registered(depth: NDArray[Any], registration: DepthRegistration) -> NDArray[np.uint16]:
    height, width = registration.depth.size
    if depth.shape != (height, width):
        raise ImageMessageError(
            f"its camera_info is of images of {width}x{height}, it is {depth.shape[1]}x{depth.shape[0]}"
        )
    registered = registration(_millimetres(depth))
    if not registered.any():
        raise ImageMessageError("registered to color nothing of it is in sight: is /tf_static right?")
    return registered


def _millimetres(depth: NDArray[Any]) -> NDArray[np.uint16]:
    """(H, W) uint16 [mm] or float32 [m] -> (H, W) uint16 [mm], 0 = invalid."""
    return depth if depth.dtype == np.uint16 else to_millimetres(depth, np.isfinite(depth) & (depth > 0))
