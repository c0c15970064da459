"""The frames to label: those of an index file, or of a data folder with recordings that nobody has indexed yet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from m3l_core.annotation.frame_names import picture
from m3l_core.datasets.folder import TEACHER, Sample, read_index
from m3l_core.datasets.indexing import LABEL, RECORDING_INDEX, read_recordings
from m3l_core.errors import DatasetError
from m3l_core.files import replacing_file
from m3l_core.json_files import read_json


def root_of(data: Path) -> Path:
    """The folder that files are told relative to: of an index file its own."""
    return data if data.is_dir() else data.parent


def read_frames(data: Path, modalities: Sequence[str], anywhere: bool = False) -> list[Sample]:
    """All frames of an index file, or of the recordings in a data folder as ``indexing.py`` has them.

    Raises:
        DatasetError: the index cannot be read or names a file that is not there; the folder has no recordings.
    """
    if not data.is_dir():
        return read_index(data, modalities, anywhere=anywhere)
    return [sample for recording in read_recordings(data, modalities) for sample in recording.samples]


def stamps(data: Path, samples: Sequence[Sample]) -> list[int | None]:
    """Nanoseconds of each frame: as the index says, else as its image is called; None where neither tells.

    Raises:
        DatasetError: the index cannot be read.
    """
    told = [None] * len(samples) if data.is_dir() else [entry.get("stamp_ns") for entry in _entries(data)]
    stems = [picture(sample).stem for sample in samples]
    return [
        stamp if isinstance(stamp, int) else int(stem) if stem.isdecimal() else None
        for stamp, stem in zip(told, stems, strict=True)
    ]


def enter_labels(data: Path, labels: Mapping[Path, Path]) -> None:
    """Name labels in the index file, or in the frames.json of the recordings, as those of people.

    All else in them stays as it is.

    Args:
        data: the index file or the data folder.
        labels: image of a frame -> its label.

    Raises:
        DatasetError: an index cannot be read.
        OSError: one cannot be written.
    """
    for index in sorted(data.glob(f"*/{RECORDING_INDEX}")) if data.is_dir() else [data]:
        former = _entries(index)
        entries = [_with_label(entry, index.parent, labels) for entry in former]
        if entries != former:
            with replacing_file(index) as temporary:
                lines = ",\n".join(json.dumps(entry) for entry in entries)
                temporary.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def _with_label(entry: dict[str, Any], folder: Path, labels: Mapping[Path, Path]) -> dict[str, Any]:
    files = [folder / name for name in entry.values() if isinstance(name, str)]
    label = next((labels[file] for file in files if file in labels), None)
    if label is None:
        return entry
    named = entry | {LABEL: relative_name(label, folder)}
    named.pop(TEACHER, None)  # the annotators' now
    if isinstance(hashes := entry.get("sha256"), dict):
        named["sha256"] = hashes | {LABEL: file_hash(label)}
    return named


def _entries(index: Path) -> list[dict[str, Any]]:
    try:
        entries = read_json(index)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{index} cannot be read as an index of frames: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DatasetError(f"{index}: expected a JSON list of frames")
    return entries


def relative_name(file: Path, folder: Path) -> str:
    """A file as an index in ``folder`` names it."""
    return (file.relative_to(folder) if file.is_relative_to(folder) else file).as_posix()


def file_hash(path: Path) -> str:
    """sha256 of a file.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
