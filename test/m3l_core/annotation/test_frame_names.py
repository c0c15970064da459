"""Frames are found again by their names, and only they."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3l_core.annotation.frame_names import FrameFinder, frame_name, frame_names
from m3l_core.datasets.folder import Sample
from m3l_core.errors import DatasetError

DATA = Path("data")


def sample(recording: str, stem: str) -> Sample:
    folder = DATA / recording
    images = {"color": folder / "color" / f"{stem}.jpg", "depth": folder / "depth" / f"{stem}.png"}
    return Sample(images, None, recording)


SAMPLES = [sample("hall", "1"), sample("hall", "2"), sample("yard", "2"), sample("yard", "3.5")]
TEXT = st.text(min_size=1, max_size=8).filter(lambda text: "/" not in text and "\0" not in text)


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("hall__2.png", 1),
        ("images/hall__2.jpg", 1),
        ("hall__2", 1),
        ("a1b2c3d4-yard__2.jpg", 2),
        ("images/a1b2c3d4__yard__2.jpg", 2),
        ("/data/upload/7/a1b2c3d4-yard__2.jpg", 2),
        ("yard__3_5.png", 3),
        ("yard/color/3.5.png", 3),
        ("hall/color/2.png", 1),
        ("share/data/hall/depth/2.png", 1),
        ("share\\hall\\color\\2.png", 1),
    ],
)
def test_names_of_files_tell_the_frame(file: str, place: int) -> None:
    assert FrameFinder.of_index(SAMPLES, DATA).find(file) == place


@pytest.mark.parametrize(
    "file", ["2.png", "color/2.png", "xhall__2.png", "hall__22.png", "a1b2c3-yard__2.jpg", "a1b2c3__yard__2.jpg", ""]
)
def test_any_other_file_is_refused(file: str) -> None:
    with pytest.raises(DatasetError, match="is of no frame: expected RECORDING__STEM, or the path"):
        FrameFinder.of_index(SAMPLES, DATA).find(file)


def test_what_is_not_clear_is_refused() -> None:
    alike = [sample("a b", "1"), sample("a_b", "1")]
    with pytest.raises(DatasetError, match=r"a_b__1\.png is of 2 frames"):
        FrameFinder.of_index(alike, DATA).find("a_b__1.png")
    names = frame_names(alike)
    finder = FrameFinder.of_names({name: place for place, name in enumerate(names)})
    assert [finder.find(f"{name}.png") for name in names] == [0, 1]


@given(st.lists(st.tuples(TEXT, TEXT)))
def test_names_are_plain_and_differ(parts: list[tuple[str, str]]) -> None:
    samples = [Sample({"color": Path("color") / f"{stem}.jpg"}, None, recording) for recording, stem in parts]
    names = frame_names(samples)
    assert len(set(names)) == len(samples)
    for name, each in zip(names, samples, strict=True):
        assert name.startswith(frame_name(each))
        assert re.fullmatch("[A-Za-z0-9_-]+", name)


def test_a_name_of_a_million_folders_is_of_no_frame() -> None:
    with pytest.raises(DatasetError, match="is of no frame"):
        FrameFinder.of_index(SAMPLES, DATA).find("n/" * 1_000_000)
