"""Bags as recorders and tools leave them: without what they are, without a list of files, packed."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from support.bags import COLOR, DEPTH, frames, write_bag

from m3l_core.bags import bag_files, unpacking
from m3l_core.bags.reader import open_bag
from m3l_core.bags.unpacking import zstd
from m3l_core.errors import DatasetError

STORAGES = pytest.mark.parametrize("storage", list(StoragePlugin))
SUFFIXES = {StoragePlugin.MCAP: ".mcap", StoragePlugin.SQLITE3: ".db3"}


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    bag_files._tell_once.cache_clear()
    caplog.set_level(logging.WARNING, "m3l_core.bags.bag_files")
    return caplog


def messages_of(path: Path) -> tuple[str, list[bytes]]:
    with open_bag(path) as bag:
        return bag.name, [message.raw for message in bag.messages((COLOR, DEPTH))]


def compress(path: Path) -> Path:
    packed = path.with_name(path.name + ".zstd")
    packed.write_bytes(zstd().compress(path.read_bytes()))
    path.unlink()
    return packed


@STORAGES
@pytest.mark.parametrize("mode", [CompressionMode.NONE, CompressionMode.FILE, CompressionMode.MESSAGE])
@pytest.mark.parametrize("empty", ['""', "''", ""])
def test_what_the_files_are_is_told_by_their_names(
    tmp_path: Path, storage: StoragePlugin, mode: CompressionMode, empty: str
) -> None:
    path = write_bag(tmp_path / "kitchen", frames(3), storage, mode)
    expected = messages_of(path)
    metadata = path / "metadata.yaml"
    text, said = metadata.read_text(), f"storage_identifier: {storage.name.lower()}"
    assert said in text
    metadata.write_text(text.replace(said, f"storage_identifier: {empty}"))
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    assert messages_of(path) == expected
    (tmp_path / "newest").symlink_to("kitchen")
    assert messages_of(tmp_path / "newest") == expected
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


@STORAGES
def test_a_whole_file_without_metadata_is_read_by_itself(
    tmp_path: Path, storage: StoragePlugin, told: pytest.LogCaptureFixture
) -> None:
    path = write_bag(tmp_path / "kitchen", frames(3), storage)
    expected = messages_of(path)
    (path / "metadata.yaml").unlink()
    assert messages_of(path) == messages_of(path) == expected
    file = f"kitchen{SUFFIXES[storage]}"
    assert told.messages == [f"{path} has no metadata.yaml: {file} in it is read by itself"]


@STORAGES
def test_a_packed_file_is_read(tmp_path: Path, storage: StoragePlugin, told: pytest.LogCaptureFixture) -> None:
    path = write_bag(tmp_path / "kitchen", frames(3), storage)
    expected = messages_of(path)
    packed = compress(path / f"kitchen{SUFFIXES[storage]}")
    assert messages_of(packed) == expected
    assert told.messages == [
        f"{packed} is decompressed each time it is read; zstd -d {packed} does it once and for all"
    ]
    (path / "metadata.yaml").unlink()
    assert messages_of(path) == expected


def test_a_packed_file_that_is_cut_off_is_told(tmp_path: Path) -> None:
    packed = compress(write_bag(tmp_path / "kitchen", frames(3)) / "kitchen.mcap")
    content = packed.read_bytes()
    for damaged in (content[:-20], content[:100], b"", b"\xff" * 50 + content):
        packed.write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"kitchen.mcap.zstd cannot be"), open_bag(packed):
            pass


def test_where_nothing_can_unpack_it_is_told_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = compress(write_bag(tmp_path / "kitchen", frames(1)) / "kitchen.mcap")
    monkeypatch.setattr(unpacking, "_ZSTD", ("no_such_module",))
    with pytest.raises(DatasetError, match=r"decompress it first, by zstd -d .*kitchen\.mcap\.zstd"), open_bag(packed):
        pass


def test_of_several_files_nobody_knows_the_order(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "kitchen", frames(2))
    write_bag(tmp_path / "further", frames(2)).joinpath("further.mcap").rename(path / "further.mcap")
    (path / "metadata.yaml").unlink()
    expected = r"kitchen has no metadata.yaml.*ros2 bag reindex .*, or give its 2 files, such as .*further.mcap$"
    with pytest.raises(DatasetError, match=expected), open_bag(path):
        pass


def test_a_file_that_was_cut_off_is_told_with_what_to_do(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "kitchen", frames(20))
    (path / "metadata.yaml").unlink()
    file = path / "kitchen.mcap"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DatasetError, match=r"kitchen cannot be read.*mcap recover"), open_bag(path):
        pass


@pytest.mark.parametrize(
    ("file", "name"),
    [("a.mcap", "a"), ("a.b.db3", "a.b"), ("a.mcap.zstd", "a"), ("a.bag", "a"), ("a.v2", "a.v2"), ("a", "a")],
)
def test_name_of_a_file(file: str, name: str) -> None:
    assert bag_files.name_of_file(file) == name
