"""Folders of recordings become index files: every frame once, recordings never split, mistakes told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rooms import recipe

from m3l_core.datasets.folder import Sample, read_index
from m3l_core.datasets.indexing import Recording, draw_validation, read_recordings, write_indexes
from m3l_core.errors import DatasetError
from m3l_core.trainer.data import read_data

MODALITIES = ("color", "depth")
NAMES = st.text("abcdefgh", min_size=1, max_size=4)


def place(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def index(folder: Path, modalities: tuple[str, ...] = MODALITIES, fraction: float = 0.2, seed: int = 0) -> None:
    recordings = read_recordings(folder, modalities)
    write_indexes(folder, recordings, draw_validation(recordings, fraction, seed), modalities)


def labelled(*names: str, without: tuple[str, ...] = ()) -> list[Recording]:
    return [
        Recording(name, (Sample({"color": Path("1.png")}, None if name in without else Path("2.png"), name),))
        for name in names
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two labelled recordings, one of them with holes, and one without labels."""
    folder = tmp_path / "data"
    for name in ("hall", "kitchen"):
        place(folder, *(f"{name}/{kind}/{number}.png" for kind in ("color", "depth", "label") for number in range(3)))
    (folder / "hall/depth/1.png").unlink()
    (folder / "hall/color/2.png").rename(folder / "hall/color/2.JPG")
    (folder / "kitchen/label/0.png").unlink()
    place(folder, "yard/color/7.jpg", "yard/depth/8.tif")
    return folder


def test_files_of_one_stem_are_one_frame(data: Path) -> None:
    hall, kitchen, yard = read_recordings(data)
    assert [recording.name for recording in (hall, kitchen, yard)] == ["hall", "kitchen", "yard"]
    assert hall.samples[2].images == {"color": data / "hall/color/2.JPG", "depth": data / "hall/depth/2.png"}
    assert [sample.label for sample in kitchen.samples] == [
        None,
        data / "kitchen/label/1.png",
        data / "kitchen/label/2.png",
    ]
    assert [list(sample.images) for sample in yard.samples] == [["color"], ["depth"]]
    assert [recording.num_labelled for recording in (hall, kitchen, yard)] == [3, 2, 0]
    assert [yard.num_without(name) for name in MODALITIES] == [1, 1]
    assert [hall.num_without(name) for name in MODALITIES] == [0, 1]


def test_the_index_is_what_training_takes(data: Path) -> None:
    index(data)
    splits = {name: read_index(data / name) for name in ("train.json", "val.json")}
    (held_out,) = {sample.recording for sample in splits["val.json"]}
    assert held_out in ("hall", "kitchen")
    assert {sample.recording for sample in splits["train.json"]} == {"hall", "kitchen", "yard"} - {held_out}
    read = read_data(recipe(), data)
    assert len(read.validation) == (3 if held_out == "hall" else 2)
    assert len(read.labelled) == 5 - len(read.validation)
    assert len(read.unlabelled) == 2 + (held_out == "hall")
    text = (data / "train.json").read_text() + (data / "val.json").read_text()
    assert '"depth": null' in text
    assert str(data) not in text


def test_other_things_in_the_folder_do_not_matter(data: Path) -> None:
    former = read_recordings(data)
    place(data, "train.json", "notes.txt", "hall/source.yaml", "hall/color/notes.txt", "hall/color/.3.png.77.part")
    place(data, ".hall.tmp/color/1.png", "hall/color/._1.png", "empty/color/readme.md", "hall/previews/1.png")
    assert read_recordings(data) == former


def test_modalities_are_folders(data: Path) -> None:
    place(data, "hall/thermal/1.tif", "kitchen/thermal/2.tif")
    index(data, ("thermal",))
    entries = json.loads((data / "train.json").read_text()) + json.loads((data / "val.json").read_text())
    assert {entry["thermal"] for entry in entries} == {"hall/thermal/1.tif", "kitchen/thermal/2.tif"}
    assert all(set(entry) == {"thermal", "label", "recording"} for entry in entries)


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (["hall/color/1.jpg"], "hall/color/1.jpg and DATA/hall/color/1.png are both the color of one instant"),
        (["hall/label/1.tif"], "hall/label/1.png and DATA/hall/label/1.tif are both the label of one instant"),
        (["hall/label/1.jpg"], "hall/label/1.jpg: labels must be png, jpeg changes the class ids"),
        (
            ["hall/label/9.png", "attic/label/1.png"],
            "2 labels have no picture of the same name, rename or remove them: attic/label/1.png, hall/label/9.png",
        ),
        ([f"hall/label/9{number:02}.png" for number in range(23)], "hall/label/919.png and 3 more"),
    ],
)
def test_what_is_not_clear_is_told_and_the_former_index_stays(data: Path, extra: list[str], reason: str) -> None:
    index(data)
    former = (data / "train.json").read_text()
    place(data, *extra)
    with pytest.raises(DatasetError, match=re.escape(reason.replace("DATA", str(data)))):
        index(data)
    assert (data / "train.json").read_text() == former


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([], r"has no recordings: expected files RECORDING/color/STEM.png, RECORDING/depth/STEM.png \(or jpg, tif\)"),
        (["color/1.png", "depth/1.png"], "has no recordings"),
        (["a/color/1.png", "b/depth/1.png"], "none of the 2 recordings has a label: put 8-bit png files"),
        (["a/color/1.png", "a/label/1.png", "b/color/1.png"], "only the recording a has labels.*label some frames of"),
    ],
)
def test_what_cannot_be_trained_is_told_with_what_to_do(tmp_path: Path, files: list[str], reason: str) -> None:
    place(tmp_path, *files)
    with pytest.raises(DatasetError, match=reason):
        index(tmp_path)
    assert not list(tmp_path.glob("*.json"))


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere is no folder"):
        read_recordings(tmp_path / "nowhere")


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.2, 20.0, float("nan")])
def test_the_share_for_validation_is_a_share(fraction: float) -> None:
    with pytest.raises(DatasetError, match="must be between 0 and 1"):
        draw_validation(labelled("a", "b"), fraction)


def test_an_index_that_cannot_be_written_leaves_both_former_ones(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index(data)
    former = [(data / name).read_text() for name in ("train.json", "val.json")]
    place(data, "yard/color/9.jpg")
    write, calls = Path.write_text, iter((True, False))

    def full(path: Path, *arguments: object, **options: object) -> int:
        if not next(calls):
            raise OSError(28, "No space left on device")
        return write(path, *arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(DatasetError, match=r"cannot be written.*No space left"):
        patch.setattr(Path, "write_text", full)
        index(data)
    assert [(data / name).read_text() for name in ("train.json", "val.json")] == former
    assert not list(data.glob(".*"))


@given(st.sets(NAMES, min_size=2, max_size=12), st.sets(NAMES), st.floats(0.01, 0.99), st.integers(0, 99), st.randoms())
def test_validation_takes_labelled_recordings_and_leaves_one(
    names: set[str], without: set[str], fraction: float, seed: int, random: object
) -> None:
    without -= names
    recordings = labelled(*names, *without, without=tuple(without))
    drawn = draw_validation(recordings, fraction, seed)
    assert drawn < names
    assert len(drawn) == min(len(names) - 1, max(1, round(fraction * len(names))))
    random.shuffle(recordings)  # type: ignore[attr-defined]
    assert draw_validation(recordings, fraction, seed) == drawn


@given(st.sets(NAMES, min_size=4, max_size=12), NAMES, st.integers(0, 99))
def test_a_new_recording_changes_little(names: set[str], added: str, seed: int) -> None:
    names.add(added)
    before = draw_validation(labelled(*names - {added}), 0.5, seed)
    after = draw_validation(labelled(*names), 0.5, seed)
    assert len(before - after) <= 1
    assert len(after - before) <= 1


def test_seeds_draw_other_recordings_and_all_of_them_in_turn() -> None:
    assert {name for seed in range(60) for name in draw_validation(labelled(*"abcdefgh"), 0.2, seed)} == set("abcdefgh")


FILES = st.sets(st.tuples(st.sampled_from("abcd"), st.sampled_from(["color", "depth", "label"]), st.integers(0, 3)))


@settings(max_examples=40, deadline=None)
@given(FILES, st.integers(0, 9))
def test_every_frame_is_in_one_index_at_most(files: set[tuple[str, str, int]], seed: int) -> None:
    pictures = {(name, stem) for name, kind, stem in files if kind != "label"}
    labels = {(name, stem) for name, kind, stem in files if kind == "label"} & pictures
    with TemporaryDirectory() as folder:
        data = Path(folder)
        place(data, *(f"{name}/{kind}/{stem}.png" for name, kind, stem in files if (name, stem) in pictures))
        if len({name for name, _ in labels}) < 2:
            with pytest.raises(DatasetError):
                index(data, seed=seed)
            return
        index(data, seed=seed)
        train, validation = (read_index(data / name) for name in ("train.json", "val.json"))
    held_out = {sample.recording for sample in validation}
    assert not held_out & {sample.recording for sample in train}

    def frames(samples: list[Sample]) -> list[tuple[str, int]]:
        return [(sample.recording, int(next(iter(sample.images.values())).stem)) for sample in samples]

    assert sorted(frames(validation)) == sorted(frame for frame in labels if frame[0] in held_out)
    assert sorted(frames(train)) == sorted(frame for frame in pictures if frame[0] not in held_out)
    assert set(frames([s for s in train if s.label is not None])) == {
        frame for frame in labels if frame[0] not in held_out
    }


def test_focal_lengths_come_from_the_list_in_the_folder(data: Path) -> None:
    folder = next(path for path in sorted(data.iterdir()) if (path / "color").is_dir())
    stems = sorted(path.stem for path in (folder / "color").iterdir())
    listed = [{"name": stems[0], "fx": 300.5}, {"color": f"color/{stems[1]}.png", "depth": None, "fx": 301}]
    (folder / "frames.json").write_text(json.dumps(listed))
    found = {
        next(iter(sample.images.values())).stem: sample.fx
        for recording in read_recordings(data)
        if recording.name == folder.name
        for sample in recording.samples
    }
    assert {stem: found[stem] for stem in stems[:2]} == {stems[0]: 300.5, stems[1]: 301.0}
    assert not any(found[stem] for stem in stems[2:])
