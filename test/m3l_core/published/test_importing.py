"""Published sets become data folders, in one go or resumed; or nothing is touched."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from support.published import random_color, write, write_stanford

from m3l_core.datasets.folder import read_index, read_sample
from m3l_core.errors import DatasetError
from m3l_core.files import replacing_file
from m3l_core.labels import LabelSet
from m3l_core.published.frame_writer import Shape
from m3l_core.published.importing import IMPORTERS, LABELS_FILE, read_published, write_folder
from m3l_core.published.layout import PublishedSet
from m3l_core.published.stanford_indoor import LABELS

SIZE = (6, 8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_stanford(tmp_path / "2d3ds")


@pytest.fixture
def published(root: Path) -> PublishedSet:
    return read_published("stanford_indoor", root)


def files(output: Path) -> dict[str, int]:
    """Name -> when it was written."""
    return {str(path.relative_to(output)): path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}


def test_the_folder_is_what_training_reads(published: PublishedSet, tmp_path: Path) -> None:
    output = tmp_path / "out"
    steps = []
    imported = write_folder(published, output, Shape(), advance=lambda: steps.append(1))
    assert len(steps) == len(published.frames) == 8
    assert {path.name for path in output.glob("*.json")} == {
        f"fold{fold}_{part}.json" for fold in (1, 2, 3) for part in ("train", "test")
    }
    for split, entries in imported.indexes.items():
        samples = read_index(output / f"{split}.json")
        assert len(samples) == len(entries)
        for sample in samples:
            images, label = read_sample(sample)
            assert images["color"].shape == (*SIZE, 3)
            assert label is not None
            assert label.shape == images["depth"].shape == SIZE


def test_pictures_that_cannot_be_read_are_no_reason_to_call_a_set_empty(root: Path, tmp_path: Path) -> None:
    for path in root.glob("area_*/data/depth/*"):
        path.write_bytes(b"broken")
    with pytest.raises(DatasetError, match=r"8 of 8 frames cannot be imported, .* cannot be read as an image"):
        write_folder(read_published("stanford_indoor", root), tmp_path / "out", Shape())


def test_labels_yaml_holds_what_a_recipe_takes(published: PublishedSet, tmp_path: Path) -> None:
    write_folder(published, tmp_path / "out", Shape(max_side=100))
    content = yaml.safe_load((tmp_path / "out" / LABELS_FILE).read_text())
    assert LabelSet.model_validate(content["labels"]) == LABELS
    assert [entry["kind"] for entry in content["modalities"]] == ["color", "depth"]
    assert content["source"] == {"dataset": "stanford_indoor", "tile": None, "overlap": 0, "max_side": 100}


def test_color_is_the_same_file(published: PublishedSet, root: Path, tmp_path: Path) -> None:
    write_folder(published, tmp_path / "out", Shape())
    for path in (tmp_path / "out/color").rglob("*.png"):
        (source,) = root.rglob(f"{path.stem}_rgb.png")
        assert path.samefile(source)


def test_where_links_are_not_possible_color_is_copied(
    published: PublishedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError("another device")

    monkeypatch.setattr(os, "link", refuse)
    write_folder(published, tmp_path / "out", Shape())
    copies = sorted((tmp_path / "out/color").rglob("*.png"))
    assert len(copies) == 8
    assert all(path.stat().st_nlink == 1 for path in copies)


def test_the_original_outlives_the_import(published: PublishedSet, root: Path, tmp_path: Path) -> None:
    """The other way round as well: a linked picture is there when the published set is deleted."""
    write_folder(published, tmp_path / "out", Shape())
    shutil.rmtree(root)
    images, _ = read_sample(read_index(tmp_path / "out/fold1_test.json")[0])
    assert images["color"].any()


@pytest.mark.parametrize("shape", [Shape(), Shape(max_side=4), Shape(tile=4, overlap=1)])
def test_an_interrupted_import_goes_on_and_keeps_what_is_there(
    published: PublishedSet, tmp_path: Path, shape: Shape
) -> None:
    output = tmp_path / "out"

    def stop() -> None:
        if len(list((output / "label").rglob("*.png"))) >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(published, output, shape, advance=stop)
    before = files(output)
    assert not any(name.endswith(".json") for name in before)
    write_folder(published, output, shape)
    after = files(output)
    assert before.items() <= after.items()
    undisturbed = tmp_path / "undisturbed"
    write_folder(published, undisturbed, shape)
    assert set(files(undisturbed)) == set(after)
    assert all((output / name).read_bytes() == (undisturbed / name).read_bytes() for name in after)


def test_a_second_import_reads_no_picture(published: PublishedSet, root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    write_folder(published, output, Shape(max_side=4))
    before = files(output)
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    write_folder(published, output, Shape(max_side=4))
    assert {name: time for name, time in files(output).items() if not name.endswith(".json")} == {
        name: time for name, time in before.items() if not name.endswith(".json")
    }


def test_several_processes_write_the_same(published: PublishedSet, tmp_path: Path) -> None:
    for workers in (1, 2):
        write_folder(published, tmp_path / str(workers), Shape(tile=4), workers)
    one, two = tmp_path / "1", tmp_path / "2"
    assert set(files(one)) == set(files(two))
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in files(one))


def test_broken_frames_are_told_when_the_others_are_written(
    published: PublishedSet, root: Path, tmp_path: Path
) -> None:
    broken = sorted(root.rglob("*_depth.png"))[2]
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    output = tmp_path / "out"
    with pytest.raises(DatasetError, match=r"1 of 8 frames cannot be imported, the first: area_4/.*as an image"):
        write_folder(published, output, Shape())
    assert len(list((output / "label").rglob("*.png"))) >= 7
    assert not list(output.glob("*.json"))
    imported = write_folder(published, output, Shape(), skip_broken=True)
    assert len(imported.indexes["fold1_train"]) == 3
    assert len(imported.broken) == 1
    broken.write_bytes(whole)
    assert len(write_folder(published, output, Shape()).indexes["fold1_train"]) == 4


def test_a_full_disk_is_no_broken_frame(
    published: PublishedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        if path.suffix == ".png":
            raise OSError(28, "No space left on device")
        return replacing_file(path)  # type: ignore[return-value]

    monkeypatch.setattr("m3l_core.published.frame_writer.replacing_file", full)
    with pytest.raises(DatasetError, match=r"out cannot be written: .*No space left.*the same command goes on"):
        write_folder(published, tmp_path / "out", Shape(), skip_broken=True)


@pytest.mark.parametrize(
    ("fill", "reason"),
    [
        (lambda output: write(output / "mine.png", random_color(0)), "holds something else"),
        (lambda output: output.write_text("a file"), "holds something else"),
        (
            lambda output: write(output / "a.png", random_color(0)).with_name(LABELS_FILE).write_text("labels: 3"),
            "does not say",
        ),
        (
            lambda output: write(output / "a.png", random_color(0)).with_name(LABELS_FILE).write_text("{"),
            "does not say",
        ),
    ],
)
def test_a_folder_with_something_else_is_left_alone(
    published: PublishedSet, tmp_path: Path, fill: Callable[[Path], object], reason: str
) -> None:
    output = tmp_path / "out"
    fill(output)
    before = files(output)
    with pytest.raises(DatasetError, match=reason):
        write_folder(published, output, Shape())
    assert files(output) == before


def test_a_folder_begun_with_another_shape_or_set_is_left_alone(published: PublishedSet, tmp_path: Path) -> None:
    output = tmp_path / "out"
    write_folder(published, output, Shape(max_side=4))
    before = files(output)
    for other, shape in ((published, Shape()), (replace(published, name="sun_rgbd"), Shape(max_side=4))):
        with pytest.raises(DatasetError, match=r"was begun as .*'max_side': 4.*choose another folder"):
            write_folder(other, output, shape)
    assert files(output) == before


def test_a_place_that_cannot_be_written_is_told(published: PublishedSet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="file/out cannot be written: "):
        write_folder(published, tmp_path / "file" / "out", Shape())


def test_a_set_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no set 'nyu'; the sets are deliver, dfc2023, nyuv2, "):
        read_published("nyu", tmp_path)


@pytest.mark.parametrize("name", sorted(IMPORTERS))
def test_every_set_refuses_an_empty_folder_and_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match=r"expected .*; found nothing"):
        read_published(name, tmp_path)
    with pytest.raises(DatasetError, match="nowhere is no folder"):
        read_published(name, tmp_path / "nowhere")


def test_indexes_are_json_lists_of_relative_paths(published: PublishedSet, tmp_path: Path) -> None:
    write_folder(published, tmp_path / "out", Shape())
    entries = json.loads((tmp_path / "out/fold2_test.json").read_text())
    assert all(not Path(entry["color"]).is_absolute() for entry in entries)
    (tmp_path / "out").rename(tmp_path / "moved")
    assert len(read_index(tmp_path / "moved/fold2_test.json")) == 2
