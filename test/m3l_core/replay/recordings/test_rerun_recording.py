"""A replay as a Rerun recording: loaded back, it holds what the model saw and said, on the stamps."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rerun import chunk as chunks
from support.bags import (
    COLOR,
    DEPTH,
    LABEL,
    MS,
    SIZE,
    Recorded,
    compressed,
    frames,
    image,
    jpeg,
    millimetres,
    rgb,
    stamps,
    write_bag,
)
from support.replays import InstantSegmenter, describe, labelled_frames, replay_into

from m3l_core.bags.frame_sets import BagFrames
from m3l_core.bags.reader import open_bag
from m3l_core.errors import DatasetError, MissingPackageError
from m3l_core.installation import install_command
from m3l_core.replay.faults.scenario import Scenario
from m3l_core.replay.recordings.rerun_layout import CLOCK, SERIES, STAMP, TRUTH
from m3l_core.replay.recordings.rerun_recording import rerun_recording
from m3l_core.replay.recordings.sinks import RunInfo

pytestmark = pytest.mark.needs("rerun.chunk")
COUNT = 10
STATE_LANES = ("color", "depth", "labels")
ORIGIN = "ViewBlueprint:space_origin"
Rows = dict[str, list[tuple[int, int, dict[str, Any]]]]
"""Entity -> (stamp, robot's clock, component -> value), by the clock."""


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp("bags") / "kitchen", frames(COUNT))


def recorded(bag: Path, folder: Path, scenario: str | Scenario = "none", label_topic: str | None = None) -> Path:
    outcome = replay_into(partial(rerun_recording, folder), bag, scenario, label_topic)
    assert not isinstance(outcome, DatasetError), outcome
    return folder / f"{bag.name}_{outcome[0].scenario}.rrd"


def load(path: Path) -> Rows:
    rows: Rows = defaultdict(list)
    for chunk in chunks.RrdReader(path).stream():
        if chunk.is_static:
            continue
        assert sorted(chunk.timeline_names) == sorted((STAMP, CLOCK))
        batch = chunk.to_record_batch()
        times = [batch.column(name).cast("int64").to_pylist() for name in (STAMP, CLOCK)]
        components = {name: batch.column(name).to_pylist() for name in batch.schema.names if ":" in name}
        for number, (stamp, clock) in enumerate(zip(*times, strict=True)):
            values = {name: column[number][0] for name, column in components.items() if column[number]}
            rows[chunk.entity_path].append((stamp, clock, values))
    return {entity: sorted(found, key=lambda row: row[1]) for entity, found in rows.items()}


def pixels(values: dict[str, Any], kind: str, dtype: type) -> np.ndarray:
    form = values[f"{kind}:format"]
    return np.array(values[f"{kind}:buffer"], np.uint8).view(dtype).reshape(form["height"], form["width"])


def test_every_frame_set_is_in_it_on_its_stamp(kitchen: Path, tmp_path: Path) -> None:
    path = recorded(kitchen, tmp_path)
    rows = load(path)
    assert list(tmp_path.iterdir()) == [path]
    for entity in ("/camera/color", "/camera/depth", "/camera/labels", "/confidence"):
        assert [row[0] for row in rows[entity]] == stamps(COUNT), entity
        assert [row[1] for row in rows[entity]] == [stamp + 5 * MS for stamp in stamps(COUNT)], entity
    segmenter = InstantSegmenter()()
    with open_bag(kitchen) as bag:
        frame_sets = list(BagFrames(bag, {"color": COLOR, "depth": DEPTH}))
    for number, frame_set in enumerate(frame_sets):
        expected = segmenter.segment(frame_set)
        values = {entity: found[number][2] for entity, found in rows.items() if len(found) == COUNT}
        labels = pixels(values["/camera/labels"], "SegmentationImage", np.uint8)
        np.testing.assert_array_equal(labels, expected.labels)
        np.testing.assert_array_equal(pixels(values["/confidence"], "Image", np.uint8), expected.confidence)
        depth = pixels(values["/camera/depth"], "DepthImage", np.uint16)
        np.testing.assert_array_equal(depth, millimetres(number))
        assert values["/camera/depth"]["DepthImage:meter"] == 1000
        blob = np.array(values["/camera/color"]["EncodedImage:blob"], np.uint8)
        assert cv2.imdecode(blob, cv2.IMREAD_COLOR).shape == rgb(number).shape


def test_the_classes_are_in_it_with_their_colors(kitchen: Path, tmp_path: Path) -> None:
    (context,) = [
        chunk.to_record_batch().to_pydict()["AnnotationContext:context"][0][0]
        for chunk in chunks.RrdReader(recorded(kitchen, tmp_path)).stream()
        if chunk.entity_path == "/"
    ]
    found = [entry["class_description"]["info"] for entry in context]
    assert [(info["id"], info["label"], info["color"]) for info in found] == [
        (number, entry.name, int.from_bytes((*entry.color, 255), "big"))
        for number, entry in enumerate(describe().labels.classes)
    ]


def test_a_lost_sensor_is_told_and_its_last_picture_is_not_shown(kitchen: Path, tmp_path: Path) -> None:
    rows = load(recorded(kitchen, tmp_path, "no_color"))
    assert [list(row[2]) for row in rows["/camera/color"]] == [["Clear:is_recursive"]] * COUNT
    assert [row[0] for row in rows["/camera/depth"]] == stamps(COUNT)
    told = {name: [row[2]["StateChange:state"] for row in rows[f"/states/{name}"]] for name in STATE_LANES}
    assert told == {"color": ["STALE", "LOST"], "depth": ["STALE", "OK"], "labels": ["depth"]}
    assert rows["/states/color"][1][0] == stamps(COUNT)[6] - 100 * MS


def test_a_sensor_lost_on_the_way_is_dark(kitchen: Path, tmp_path: Path) -> None:
    """The viewer (0.41) does not clear encoded images, and goes on showing the last one."""
    lost = Scenario.model_validate({"name": "lost", "faults": [{"kind": "gone", "modality": "color", "from_s": 0.45}]})
    shown = [row[2] for row in load(recorded(kitchen, tmp_path, lost))["/camera/color"]]
    pictures = [cv2.imdecode(np.array(each["EncodedImage:blob"], np.uint8), cv2.IMREAD_COLOR) for each in shown]
    assert {picture.shape for picture in pictures} == {rgb(0).shape}
    dark = [float((picture == 0).all(axis=-1).mean()) > 0.5 for picture in pictures]
    assert dark == [False] * 5 + [True] * 5


def test_the_blueprint_shows_each_picture_in_a_view_of_its_own(kitchen: Path, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bags" / "labelled", labelled_frames(COUNT))
    for path, truth in ((recorded(kitchen, tmp_path), []), (recorded(bag, tmp_path, label_topic=LABEL), [TRUTH])):
        found = origins(path)
        shown = ["camera/color", "camera/depth", "camera/labels", *truth, "confidence", "classes", "states"]
        assert sorted(found) == sorted([*shown, "plots/confidence", "plots/latency"])


def test_ground_truth_and_figures_of_each_frame_are_in_it(tmp_path: Path) -> None:
    def labels(number: int) -> np.ndarray:
        return np.full(SIZE, number % 3, np.uint8)

    bag = write_bag(tmp_path / "bags" / "kitchen", labelled_frames(COUNT, labels))
    rows = load(recorded(bag, tmp_path, label_topic=LABEL))
    for number, row in enumerate(rows[f"/{TRUTH}"]):
        np.testing.assert_array_equal(pixels(row[2], "SegmentationImage", np.uint8), labels(number))
    confidence, wait, inference = ([row[2]["Scalars:scalars"] for row in rows[f"/{path}"]] for path in SERIES)
    assert confidence == pytest.approx([200 / 255] * COUNT)
    assert wait == pytest.approx([2.0] * COUNT), "depth arrives 2 ms behind color"
    assert len(inference) == COUNT and all(0 < each < 1e4 for each in inference)


def origins(path: Path) -> list[str]:
    """What the views of the blueprint in a recording show."""
    reader, found = chunks.RrdReader(path), []
    (stored,) = reader.blueprints()
    for chunk in reader.stream(store=stored):
        batch = chunk.to_record_batch()
        if ORIGIN in batch.schema.names:
            found += [entry[0].strip("/") for entry in batch.column(ORIGIN).to_pylist()]
    return found


def test_a_jpeg_is_passed_on_and_metric_depth_is_in_metres(tmp_path: Path) -> None:
    messages = [
        each
        for number, stamp in enumerate(stamps(3))
        for each in (
            Recorded("/rgb/compressed", stamp, compressed(jpeg(number), "rgb8; jpeg compressed bgr8", stamp)),
            Recorded(DEPTH, stamp, image((millimetres(number) / 1000).astype(np.float32), "32FC1", stamp)),
        )
    ]
    rows = load(recorded(write_bag(tmp_path / "bags" / "kitchen", messages), tmp_path / "out"))
    for number in range(3):
        color = rows["/camera/color"][number][2]
        assert (bytes(color["EncodedImage:blob"]), color["EncodedImage:media_type"]) == (jpeg(number), "image/jpeg")
        values = rows["/camera/depth"][number][2]
        assert values["DepthImage:meter"] == 1
        depth = pixels(values, "DepthImage", np.float32)
        np.testing.assert_allclose(depth, millimetres(number) / 1000, rtol=1e-6)


def test_stamps_that_nobody_set_do_not_stretch_the_timeline(tmp_path: Path) -> None:
    messages = frames(COUNT)
    messages[4] = messages[4]._replace(message=image(rgb(2), "rgb8", 0))
    rows = load(recorded(write_bag(tmp_path / "bags" / "kitchen", messages), tmp_path / "out"))
    assert min(row[0] for found in rows.values() for row in found) == stamps(1)[0]


def test_a_replay_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    run = RunInfo("kitchen", "none", {"color": COLOR}, describe())
    with pytest.raises(ZeroDivisionError), rerun_recording(tmp_path, run):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_disk_that_cannot_be_written_is_told(kitchen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import rerun

    original = rerun.RecordingStream.save
    monkeypatch.setattr(rerun.RecordingStream, "save", lambda stream, path: original(stream, "/dev/full"))
    outcome = replay_into(partial(rerun_recording, tmp_path), kitchen)
    assert isinstance(outcome, DatasetError)
    assert "labels of kitchen cannot be kept on disk: " in str(outcome)
    assert "No space left" in str(outcome)
    assert not list(tmp_path.iterdir())


def test_without_the_package_it_is_told_what_to_install(
    kitchen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(MissingPackageError, match=re.escape(install_command("rerun"))):
        replay_into(partial(rerun_recording, tmp_path), kitchen)
