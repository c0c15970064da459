"""A small bag cannot fill memory or disk: what it holds packed is unpacked within limits."""

from __future__ import annotations

import bz2
import os
from pathlib import Path

import lz4.frame
import pytest
from rosbags.rosbag1 import reader as rosbag1_reader
from rosbags.rosbag2 import storage_mcap
from rosbags.rosbag2.enums import CompressionMode
from support.bags import COLOR, DEPTH, frames, write_bag, write_ros1_bag

from m3l_core.bags import unpacking
from m3l_core.bags.reader import open_bag
from m3l_core.errors import DatasetError


@pytest.mark.parametrize("mode", [CompressionMode.STORAGE, CompressionMode.MESSAGE, CompressionMode.FILE])
def test_a_bag_of_more_than_may_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: CompressionMode
) -> None:
    bag = write_bag(tmp_path / "kitchen", frames(3), compression=mode)
    with open_bag(bag) as opened:
        assert len([*opened.messages((COLOR, DEPTH))]) == 6
    for limit in ("MOST_BYTES", "_SMALL", "_MOST_DENSE"):
        monkeypatch.setattr(unpacking, limit, 1)
    problem = r"unpacks to more than 1 bytes|more than 1 times its size"
    with pytest.raises(DatasetError, match=problem), open_bag(bag) as opened:
        list(opened.messages((COLOR, DEPTH)))


@pytest.mark.parametrize("compression", ["bz2", "lz4"])
def test_so_it_is_with_bags_of_ros_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str) -> None:
    bag = write_ros1_bag(tmp_path / "kitchen.bag", frames(3), compression)
    with open_bag(bag) as opened:
        assert len([*opened.messages((COLOR, DEPTH))]) == 6
    monkeypatch.setattr(unpacking, "MOST_BYTES", 1)
    with open_bag(bag) as opened, pytest.raises(DatasetError, match="unpacks to more than 1 bytes"):
        list(opened.messages((COLOR, DEPTH)))


def test_no_more_is_unpacked_than_may_be() -> None:
    zeros = bytes(unpacking.MOST_BYTES + 1)
    with pytest.raises(ValueError, match="unpacks to more than"):
        rosbag1_reader.decompressors["bz2"](bz2.compress(zeros))
    packed = lz4.frame.compress(b"kitchen" * 9)
    assert storage_mcap.DECOMPRESSORS["lz4"](packed, 63) == b"kitchen" * 9
    with pytest.raises(EOFError, match="cut off"):
        storage_mcap.DECOMPRESSORS["lz4"](packed[:-9], 63)


@pytest.mark.parametrize("name", ["pipe.mcap", "pipe.db3", "pipe.bag", "pipe.mcap.zstd"])
def test_a_pipe_is_no_bag(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DatasetError, match="no regular file"), open_bag(tmp_path / name):
        pass


def test_a_folder_with_a_pipe_in_place_of_its_file_is_no_bag(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "kitchen", frames(1))
    (bag / "kitchen.mcap").unlink()
    os.mkfifo(bag / "kitchen.mcap")
    with pytest.raises(DatasetError, match="no regular file"), open_bag(bag):
        pass
