"""The files of an export, be it a zip archive, a folder or one file; nothing is unpacked to disk."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from zipfile import BadZipFile, ZipFile, is_zipfile

from m3l_core.errors import DatasetError
from m3l_core.json_files import parse_json

_Content = TypeVar("_Content")
_MOST_BYTES = 1 << 28
"""Of a file, unpacked: a small archive can hold any number of zeros."""
_SMALL, _MOST_DENSE = 1 << 23, 200
"""Bytes of a file that may be packed however densely; of a larger one, those that one packed byte may stand for."""


class ExportFiles:
    """Files by name, relative to the export's root, with slashes."""

    def __init__(self, path: Path, archive: ZipFile | None = None) -> None:
        self.path = path
        self._archive = archive
        if archive is not None:
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        elif path.is_dir():
            names = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
        else:
            names = [path.name]
        self.names = sorted(name for name in names if not _is_hidden(PurePosixPath(name)))
        self._documents: dict[str, Any] | None = None

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            DatasetError: it cannot be read.
        """
        try:
            if self._archive is not None:
                entry = self._archive.getinfo(name)
                self._check_size(name, entry.file_size)
                if entry.file_size > max(_SMALL, _MOST_DENSE * entry.compress_size):
                    raise DatasetError(
                        f"{self.place(name)} has {entry.file_size} bytes packed into {entry.compress_size}, as no "
                        "annotations are: unpack it, and give the folder if you trust it"
                    )
                return self._archive.read(name)  # no more than the archive says
            file = self.path / name if self.path.is_dir() else self.path
            self._check_size(name, file.stat().st_size)
            return file.read_bytes()
        except (OSError, EOFError, BadZipFile, RuntimeError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise DatasetError(f"{self.place(name)} cannot be read: {error}") from error

    def _check_size(self, name: str, size: int) -> None:
        if size > _MOST_BYTES:
            raise DatasetError(
                f"{self.place(name)} has {size} bytes, expected {_MOST_BYTES} at most: export less at once"
            )

    def ending_with(self, suffix: str) -> list[str]:
        """Names with a suffix such as ``.png``, in any case."""
        return [name for name in self.names if name.lower().endswith(suffix)]

    def documents(self) -> dict[str, Any]:
        """Name -> content of every JSON file.

        Raises:
            DatasetError: with a line for each that is not JSON.
        """
        if self._documents is None:
            self._documents = gather(self.ending_with(".json"), self._parse)
        return self._documents

    def place(self, name: str) -> str:
        """How a file is called in messages."""
        return str(self.path) if self._archive is None and not self.path.is_dir() else f"{self.path}: {name}"

    def _parse(self, name: str) -> Any:
        try:
            return parse_json(self.read(name))
        except ValueError as error:
            raise DatasetError(f"{self.place(name)} is not JSON: {error}") from error


def gather(names: Iterable[str], read: Callable[[str], _Content]) -> dict[str, _Content]:
    """Name -> what ``read`` makes of it.

    Raises:
        DatasetError: with a line for each that cannot be read.
    """
    found: dict[str, _Content] = {}
    problems: list[str] = []
    for name in names:
        try:
            found[name] = read(name)
        except DatasetError as error:
            problems.append(str(error))
    if problems:
        raise DatasetError("\n".join(problems))
    return found


@contextmanager
def open_export(path: Path) -> Iterator[ExportFiles]:
    """Open an export for reading.

    Raises:
        DatasetError: there is no such file, or it is a damaged archive.
    """
    if path.is_dir() or (path.is_file() and path.suffix.lower() != ".zip"):
        yield ExportFiles(path)
        return
    if not path.is_file():  # a pipe or a device may go on for ever
        raise DatasetError(f"{path} is {'no file' if path.exists() else 'not there'}: export it again")
    if not is_zipfile(path):
        raise DatasetError(f"{path} is no zip archive: export it again")
    try:
        archive = ZipFile(path)
    except (OSError, BadZipFile) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    with archive:
        yield ExportFiles(path, archive)


def _is_hidden(name: PurePosixPath) -> bool:
    """Such as what macOS adds to archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.parts)
