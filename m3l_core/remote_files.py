"""Files that may lie in object storage, by a URL as fsspec takes it: s3://bucket/bags/kitchen, gs://..., sftp://...

What works with files gets a local copy, and what it writes is uploaded; a path stands for itself. Credentials are those
that the package for each kind of storage finds on the machine.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from m3l_core.errors import DatasetError, M3LError, MissingPackageError, require
from m3l_core.files import cache_folder

Location = Path | str
"""A path, or a URL."""


def location(text: str) -> Location:
    """The type of an argument that names a file or folder wherever it is."""
    return text.rstrip("/") if "://" in text else Path(text)


def joined(folder: Location, name: str) -> Location:
    return folder / name if isinstance(folder, Path) else f"{folder}/{name}"


def absolute(where: Location) -> Location:
    """Whatever the working directory of the process that reads it."""
    return where.absolute() if isinstance(where, Path) else where


def make_folder(folder: Location) -> None:
    """Have a folder for output; one that cannot be is told before the work.

    Raises:
        DatasetError: it cannot be made.
        MissingPackageError: the package for this kind of storage is not installed.
    """
    with _told(f"{folder} cannot be the output folder"):
        if isinstance(folder, Path):
            folder.mkdir(parents=True, exist_ok=True)
        else:
            files, root = _storage(folder)
            files.makedirs(root, exist_ok=True)


@contextmanager
def local_copy(source: Location) -> Iterator[Path]:
    """A file or folder under its own name, while the block runs; a DatasetError of the block then speaks of its URL.

    Raises:
        DatasetError: it cannot be copied.
        MissingPackageError: the package for this kind of storage is not installed.
    """
    if isinstance(source, Path):
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="m3l_") as temporary:
        path = Path(temporary) / _name(source)
        _download(source, path)
        with _called(path, source):
            yield path


@contextmanager
def local_folder(target: Location, with_content: bool = False) -> Iterator[Path]:
    """A folder to write to; what the block wrote is uploaded when it ends, whatever ends it.

    A DatasetError of the block then speaks of the folder's URL.

    Args:
        target: where it belongs.
        with_content: what is there already is in the folder, too, and uploaded only where the block changes it.

    Raises:
        DatasetError: it cannot be copied.
        MissingPackageError: the package for this kind of storage is not installed.
    """
    if isinstance(target, Path):
        yield target
        return
    with tempfile.TemporaryDirectory(prefix="m3l_") as temporary:
        folder = Path(temporary) / _name(target)
        folder.mkdir()
        if with_content:
            _download(target, folder, optional=True)
        former = _states(folder)
        try:
            with _called(folder, target):
                yield folder
        finally:
            _upload(folder, former, target)


def cached_copy(source: Location) -> Path:
    """A folder that is read again and again, such as a bundle; copied anew when the original has changed.

    Raises:
        DatasetError: it cannot be copied.
        MissingPackageError: the package for this kind of storage is not installed.
    """
    if isinstance(source, Path):
        return source
    with _told(f"{source} cannot be copied to {cache_folder()}"):
        files, root = _storage(source)
        state = repr(sorted(files.find(root, detail=True).items()))
        folder = cache_folder() / "copies" / hashlib.sha256(f"{source} {state}".encode()).hexdigest()[:16]
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as temporary:
                made = Path(temporary) / "copy"
                _download(source, made / _name(source))
                try:
                    made.rename(folder)
                except OSError:
                    if not folder.exists():  # another process was faster, and uses its copy
                        raise
    return folder / _name(source)


@contextmanager
def _called(path: Path, url: str) -> Iterator[None]:
    """A DatasetError speaks of the URL, not of the copy on this machine."""
    try:
        yield
    except DatasetError as error:
        raise DatasetError(str(error).replace(str(path), url)) from error


def _download(source: str, path: Path, optional: bool = False) -> None:
    with _told(f"{source} cannot be copied to this machine"):
        files, root = _storage(source)
        found = files.find(root)
        if not found and not optional:
            raise FileNotFoundError("there is nothing")
        copies = [path / name[len(root) :].lstrip("/") for name in found]
        if any(".." in copy.parts for copy in copies):
            raise ValueError("the name of a file leads out of it")
        for folder in {copy.parent for copy in copies}:
            folder.mkdir(parents=True, exist_ok=True)
        files.get(found, [str(copy) for copy in copies])


def _upload(folder: Path, former: Mapping[Path, tuple[int, int]], target: str) -> None:
    states = _states(folder)
    written = sorted((path for path in states if states[path] != former.get(path)), key=lambda path: states[path])
    with _told(f"{target} cannot be written"):
        files, root = _storage(target)
        copies = {path: f"{root}/{path.relative_to(folder).as_posix()}" for path in written}
        for parent in sorted({str(PurePosixPath(copy).parent) for copy in copies.values()}):
            with suppress(PermissionError):  # who may write to a bucket need not be allowed to make one
                files.makedirs(parent, exist_ok=True)
        # Many at a time, but in between the first that was written, which says what the folder is, and the last, which
        # lists what is there: whenever this is cut off, what is there makes sense.
        for batch in (written[:1], written[1:-1], written[1:][-1:]):
            if batch:
                files.put([str(path) for path in batch], [copies[path] for path in batch])


def _states(folder: Path) -> dict[Path, tuple[int, int]]:
    """File -> when it was written, and which it is: every one is written beside its place."""
    stats = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    return {path: (stat.st_mtime_ns, stat.st_ino) for path, stat in stats.items()}


def _name(url: str) -> str:
    return PurePosixPath(_storage(url)[1]).name


def _storage(url: str) -> tuple[Any, str]:
    """The file system of fsspec, and the path in it."""
    fsspec = require("fsspec", "fleet")
    try:
        files, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingPackageError(f"{url} needs another package: {error}") from error
    except Exception as error:  # each kind of storage has errors of its own
        raise DatasetError(f"the storage of {url} cannot be reached: {error or type(error).__name__}") from error
    files.invalidate_cache()  # this process may have listed it before another one wrote to it
    return files, root.rstrip("/")


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except M3LError:
        raise
    except Exception as error:
        raise DatasetError(f"{what}: {error or type(error).__name__}") from error
