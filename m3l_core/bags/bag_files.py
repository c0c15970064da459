"""What lies on disk as a bag, in the forms that recorders and their tools leave it, made such that it can be opened."""

from __future__ import annotations

import functools
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from m3l_core.bags.unpacking import LimitedFile, zstd
from m3l_core.errors import DatasetError
from m3l_core.files import regular_size

_log = logging.getLogger(__name__)

METADATA = "metadata.yaml"
_STORAGES = {".mcap": "mcap", ".db3": "sqlite3"}
_COMPRESSED = ".zstd"
_NO_STORAGE = re.compile(r"^([ \t]*storage_identifier:)[ \t]*(\"\"|'')?[ \t]*$", re.MULTILINE)


def name_of_file(name: str) -> str:
    """What a bag is called by its file's name: kitchen.mcap and kitchen.mcap.zstd are kitchen."""
    path = PurePosixPath(name.removesuffix(_COMPRESSED))
    return path.stem if path.suffix in (*_STORAGES, ".bag") else path.name


def is_ros1(path: Path) -> bool:
    """By its name, which ends in .bag.active while it is being written; a folder is of ROS 2 whatever its name."""
    return path.name.endswith((".bag", ".bag.active")) and not path.is_dir()


@contextmanager
def whole_bag(path: Path) -> Iterator[Path]:
    """What to open for a bag: itself, or a whole copy while the block runs, of links where files need no change.

    Raises:
        DatasetError: the folder is no bag; the text says what to do.
        OSError: the copy cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="m3l_bag_") as temporary:
        yield _made_whole(path, Path(temporary))


def _made_whole(path: Path, temporary: Path) -> Path:
    if path.is_dir():
        if (path / METADATA).is_file():
            for file in path.iterdir():
                _check_is_file(file)
            return _with_storage(path, temporary)
        path = _only_file(path)
    _check_is_file(path)
    return _decompressed(path, temporary) if path.suffix == _COMPRESSED else path


def _check_is_file(path: Path) -> None:
    """Of a pipe or a device the end may never come."""
    if path.exists() and not path.is_dir():
        regular_size(path)


def _only_file(folder: Path) -> Path:
    """The file of a folder that lacks what says which files it has."""
    if ros1 := sorted(folder.glob("*.bag")):
        raise DatasetError(f"{folder} is a folder with bags of ROS 1: give its files, such as {ros1[0]}")
    files = sorted(file for file in folder.iterdir() if _suffix(file) in _STORAGES)
    if len(files) != 1:
        each = f", or give its {len(files)} files, such as {files[0]}" if files else ""
        raise DatasetError(
            f"{folder} has no {METADATA}, so it is no bag, is still being written, or its recording was cut off. "
            f"Rebuild the file with: ros2 bag reindex {folder}{each}"
        )
    _tell_once(f"{folder} has no {METADATA}: {files[0].name} in it is read by itself")
    return files[0]


def _with_storage(folder: Path, temporary: Path) -> Path:
    """Say what the files are where `ros2 bag reindex` of Humble left that out."""
    metadata = (folder / METADATA).read_text(encoding="utf-8", errors="replace")
    storages = {_STORAGES[suffix] for suffix in map(_suffix, folder.iterdir()) if suffix in _STORAGES}
    if not _NO_STORAGE.search(metadata) or len(storages) != 1:
        return folder
    whole = temporary / folder.resolve().name
    whole.mkdir()
    for file in folder.resolve().iterdir():
        if file.name != METADATA:
            (whole / file.name).symlink_to(file)
    said = _NO_STORAGE.sub(rf"\1 {storages.pop()}", metadata)
    (whole / METADATA).write_text(said, encoding="utf-8")
    return whole


def _suffix(file: Path) -> str:
    return Path(file.name.removesuffix(_COMPRESSED)).suffix


def _decompressed(path: Path, temporary: Path) -> Path:
    advice = f"zstd -d {path}"
    if (module := zstd()) is None:
        raise DatasetError(f"{path} is compressed: decompress it first, by {advice}")
    _tell_once(f"{path} is decompressed each time it is read; {advice} does it once and for all")
    whole = temporary / path.stem
    try:
        with LimitedFile(module.open(path, "rb"), path.stat().st_size) as packed, whole.open("wb") as file:
            shutil.copyfileobj(packed, file)
    except (module.ZstdError, EOFError) as error:
        raise DatasetError(f"{path} cannot be decompressed: {error}. Is it cut off? Copy it again") from error
    return whole


@functools.cache
def _tell_once(text: str) -> None:
    _log.warning("%s", text)
