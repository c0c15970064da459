"""The index of one extracted recording: every frame set with its files, stamps, hashes and what it lacks.

A JSON list with one entry a line, by stamp. An entry is one of ``folder.py``'s, so that ``read_index`` reads it, with
more: ``stamp_ns`` of the reference frame; ``offsets_ns``, modality -> how much later its own stamp is; ``missing``,
modality -> why it is null; ``fx``, if the recording tells it; ``sha256``, field -> hash of its file; ``teacher``, the
model whose label it is, until somebody corrects it. The cameras are in source.yaml beside it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from m3l_core.datasets.folder import FOCAL_LENGTH, TEACHER, Teacher, teacher_of
from m3l_core.datasets.indexing import LABEL, RECORDING_INDEX
from m3l_core.errors import DatasetError
from m3l_core.files import replacing_file

INDEX_FILE = RECORDING_INDEX


class FrameIndex:
    """Collects entries; ``with`` writes them at its end, be it by an error or a signal, with the former index's.

    One whose pictures are gone by then is left out. Meanwhile they lie in a temporary file: the memory does not grow
    with the recording.

    Args:
        folder: of the recording.
        fx: focal length in pixels, for every entry, the former ones as well; None if it is not known.

    Raises:
        DatasetError: there is an index that cannot be read.
        OSError: it cannot be written.
    """

    def __init__(self, folder: Path, fx: float | None = None) -> None:
        self._folder, self._fx = folder, fx
        self._entries = sqlite3.connect("")  # a temporary database, on disk where it grows
        self._entries.execute("CREATE TABLE entries (stamp_ns INTEGER PRIMARY KEY, entry TEXT)")
        self._entries.execute("CREATE TABLE met (stamp_ns INTEGER PRIMARY KEY)")
        self._entries.execute("CREATE TABLE taught (stamp_ns INTEGER PRIMARY KEY, sha256 TEXT, teacher TEXT)")
        for entry in read_entries(folder / INDEX_FILE) if (folder / INDEX_FILE).is_file() else ():
            self.add(entry)
            if (teacher := teacher_of(entry)) is not None:
                self.teach(entry["stamp_ns"], str(entry["sha256"].get(LABEL)), teacher)

    def __enter__(self) -> FrameIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._write()
        finally:
            self._entries.close()

    def meet(self, stamp_ns: int) -> bool:
        """Whether a frame set is the first one of its stamp in this run."""
        return self._entries.execute("INSERT OR IGNORE INTO met VALUES (?)", (stamp_ns,)).rowcount == 1

    def has_met(self, stamp_ns: int) -> bool:
        """Whether there was a frame set of that stamp in this run, kept or not."""
        return self._entries.execute("SELECT 1 FROM met WHERE stamp_ns = ?", (stamp_ns,)).fetchone() is not None

    def add(self, entry: dict[str, Any]) -> None:
        """Add the entry of a frame set, or replace the one of its stamp."""
        values = (entry["stamp_ns"], json.dumps(entry))
        self._entries.execute("INSERT OR REPLACE INTO entries VALUES (?, ?)", values)

    def teach(self, stamp_ns: int, label_sha256: str, teacher: Teacher) -> None:
        """Note whose the label of that hash is, for as long as it lies there."""
        values = (stamp_ns, label_sha256, json.dumps(asdict(teacher)))
        self._entries.execute("INSERT OR REPLACE INTO taught VALUES (?, ?, ?)", values)

    def _write(self) -> None:
        if self._entries.execute("SELECT 1 FROM entries").fetchone() is None:
            return
        separator = "\n"
        with replacing_file(self._folder / INDEX_FILE) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write("[")
            for (text,) in self._entries.execute("SELECT entry FROM entries ORDER BY stamp_ns"):
                entry = self._with_label(json.loads(text))
                if self._fx is not None:
                    entry[FOCAL_LENGTH] = round(self._fx, 3)
                if all((self._folder / name).is_file() for name in _files(entry)):
                    file.write(separator + json.dumps(entry))
                    separator = ",\n"
            file.write("\n]\n")

    def _with_label(self, entry: dict[str, Any]) -> dict[str, Any]:
        """The label that lies beside the pictures now, whoever made it."""
        label = f"{LABEL}/{entry['stamp_ns']}.png"
        for told in (entry, entry["sha256"]):
            told.pop(LABEL, None)
        entry.pop(TEACHER, None)
        if (path := self._folder / label).is_file():
            entry[LABEL] = label
            entry["sha256"][LABEL] = found = sha256(path.read_bytes())
            query = "SELECT teacher FROM taught WHERE stamp_ns = ? AND sha256 = ?"
            if (taught := self._entries.execute(query, (entry["stamp_ns"], found)).fetchone()) is not None:
                entry[TEACHER] = json.loads(taught[0])
        return entry


def read_entries(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of an index that was written here, one after another.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for entry in _parsed(file):
                dict(entry["sha256"])
                if not -(1 << 63) <= entry["stamp_ns"] < 1 << 63:
                    raise ValueError(f"a frame has the stamp {entry['stamp_ns']}")
                yield entry
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise DatasetError(
            f"{path} cannot be read ({error}): remove it, and extract the recording again to have it rebuilt"
        ) from error


def _parsed(file: TextIO) -> Iterator[dict[str, Any]]:
    """Line by line, or whole where another program has laid it out anew."""
    if (file.readline(), file.readline()[:1]) != ("[\n", "{"):
        file.seek(0)
        if not isinstance(entries := json.load(file), list):
            raise ValueError("it is no list")
        yield from entries
        return
    file.seek(0)
    file.readline()
    for line in file:
        if line.startswith("]"):
            return
        yield json.loads(line.rstrip().rstrip(","))
    raise ValueError("its end is missing")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _files(entry: dict[str, Any]) -> list[str]:
    return [entry[field] for field in entry["sha256"] if entry.get(field)]
