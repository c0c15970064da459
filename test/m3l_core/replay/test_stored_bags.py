"""Replays of bags in storage: the report is that of bags on the disk, and one bad bag costs no other."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bags import LABEL, SIZE, frames, png, stamps, write_bag
from support.replays import InstantSegmenter, describe, labelled_frames

from m3l_core.bundle import ModelBundle
from m3l_core.errors import DatasetError
from m3l_core.remote_files import Location
from m3l_core.replay.bags import BagTask, Outcome, replay_bags
from m3l_core.replay.faults.scenario import load_scenarios
from m3l_core.replay.preparation import prepare_bag
from m3l_core.replay.recordings.annotated_bag import annotated_bag
from m3l_core.replay.recordings.sinks import OpenSink
from m3l_core.replay.replay import ReplaySettings
from m3l_core.replay.report.page import to_html
from m3l_core.replay.report.report import ReplayReport, to_dict
from m3l_core.replay.stored_bags import BagRequest, EngineAnywhere, prepared, replay_stored_bags, stored_sink
from m3l_core.shipped import shipped_bundle

pytestmark = pytest.mark.needs("fsspec")
GUESSED = {"color": None, "depth": None}
SCENARIOS = tuple(load_scenarios(["none", "no_color"]))


def task_of(*sinks: OpenSink) -> Any:
    return partial(BagTask, scenarios=SCENARIOS, settings=ReplaySettings(), load=InstantSegmenter(), sinks=sinks)


def replayed(*requests: BagRequest, sinks: tuple[OpenSink, ...] = ()) -> dict[str, Any]:
    bags, outcomes = zip(*replay_stored_bags(requests, task_of(*sinks), None), strict=True)
    return to_dict(ReplayReport(describe(), "instant", "fp32", ReplaySettings(), SCENARIOS, bags, outcomes))


def test_the_report_is_that_of_a_bag_on_the_disk(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "kitchen", labelled_frames(12))
    bag = prepare_bag(path, GUESSED, describe(), LABEL)
    outcomes: list[Outcome] = list(replay_bags([task_of()(bag)]))
    here = to_dict(ReplayReport(describe(), "instant", "fp32", ReplaySettings(), SCENARIOS, [bag], outcomes))
    stored = replayed(BagRequest(path.as_uri(), GUESSED, describe(), LABEL))
    assert stored["bags"][0].pop("path") == path.as_uri()
    assert here["bags"][0].pop("path") == str(path)
    assert stored == here
    assert replayed(BagRequest(path, GUESSED, describe(), LABEL))["scenarios"] == here["scenarios"]


def test_labels_beside_the_bags_are_copied_too(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "kitchen", frames(5))
    labels = tmp_path / "labels" / "kitchen"
    labels.mkdir(parents=True)
    for stamp_ns in stamps(5):
        (labels / f"{stamp_ns}.png").write_bytes(png(np.ones(SIZE, np.uint8)))
    url = labels.parent.as_uri()
    content = replayed(BagRequest(path.as_uri(), GUESSED, describe(), labels=url))
    assert content["bags"][0]["ground_truth"] == url
    assert content["scenarios"][0]["measures"]["frames_compared"]["truth"] == 5
    with prepared(BagRequest(path, GUESSED, describe(), labels=labels)) as bag:
        assert (bag.path, bag.ground_truth) == (path, str(labels))


def test_what_is_written_of_a_run_is_uploaded(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "kitchen", frames(5))
    written = {}
    folders: tuple[Location, ...] = (tmp_path / "paths", (tmp_path / "urls").as_uri())
    for place, folder in zip(("paths", "urls"), folders, strict=True):
        replayed(BagRequest(path, GUESSED, describe()), sinks=(partial(stored_sink, annotated_bag, folder),))
        files = (file for file in (tmp_path / place).rglob("*") if file.is_file())
        written[place] = {str(file.relative_to(tmp_path / place)): file.read_bytes() for file in files}
    assert written["paths"] == written["urls"]
    assert {"kitchen_none/kitchen_none.mcap", "kitchen_none/metadata.yaml"} <= set(written["urls"])


def test_a_bag_of_no_use_costs_no_other(tmp_path: Path) -> None:
    paths = [tmp_path / "nowhere", write_bag(tmp_path / "kitchen", frames(5))]
    requests = [BagRequest(path.as_uri(), GUESSED, describe()) for path in paths]
    (bad, damage), (_, outcome) = replay_stored_bags(requests, task_of(), None)
    assert isinstance(damage, DatasetError)
    assert str(damage).startswith(f"{paths[0].as_uri()} cannot be copied to this machine: ")
    assert (bad.name, bad.path) == ("nowhere", paths[0].as_uri())
    assert not isinstance(outcome, DatasetError)
    content = replayed(*requests)
    assert [bag["damage"] for bag in content["bags"]] == [str(damage), None]
    assert paths[0].as_uri() in to_html(content)


@pytest.mark.parametrize("shipped", [True, False])
def test_an_engine_is_loaded_from_the_bundle_that_a_machine_has(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shipped: bool
) -> None:
    monkeypatch.setenv("M3L_CACHE", str(tmp_path))
    segmenter = EngineAnywhere(None if shipped else tiny_bundle.as_uri(), "torch", "fp32", 1)()
    assert segmenter.description == ModelBundle.load(shipped_bundle() if shipped else tiny_bundle).description
