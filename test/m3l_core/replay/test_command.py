"""``m3l_replay`` from its arguments to its exit status."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bags import (
    COLOR,
    DEPTH,
    LABEL,
    MS,
    PERIOD_NS,
    SIZE,
    START_NS,
    CompressionMode,
    Recorded,
    break_chunk,
    frames,
    ids,
    image,
    png,
    rgb,
    stamps,
    write_bag,
)
from support.bundles import write_onnx_bundle
from support.replays import BrightnessEngine, labelled_frames
from support.two_cameras import rig_recording

from m3l_core.bags.reader import deserialize, open_bag
from m3l_core.modalities import ColorModality, DepthModality, IntensityModality
from m3l_core.replay import command
from m3l_core.replay.arguments import LiveOptions
from m3l_core.replay.bags import EngineChoice
from m3l_core.replay.measures.measures import LiveMeasures
from m3l_core.replay.replay import ReplayResult, replay
from m3l_core.replay.report.page import to_html

COUNT = 12


@dataclass
class Ended:
    """How the command ended."""

    status: Any
    out: str
    error: str
    report: dict[str, Any] | None


@pytest.fixture
def replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Runs the command with an instant engine."""
    monkeypatch.setattr(command, "load_engine", lambda *arguments: BrightnessEngine())

    def call(*arguments: object) -> Ended:
        output = tmp_path / "report"
        monkeypatch.setattr(sys, "argv", ["m3l_replay", *map(str, arguments), "--output", str(output)])
        status: Any = 0
        try:
            command.main()
        except SystemExit as end:
            status = end.code
        shown = capsys.readouterr()
        text = status if isinstance(status, str) else ""
        file = output / "report.json"
        report = json.loads(file.read_text()) if file.is_file() else None
        return Ended(1 if text else status, shown.out, shown.err + text, report)

    return call


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp("bags") / "kitchen", labelled_frames(COUNT))


def test_a_bag_gives_a_table_and_a_report(replayed: Callable[..., Ended], kitchen: Path) -> None:
    ended = replayed(kitchen, "--label-topic", LABEL)
    assert ended.status == 0, ended.error
    assert f"kitchen: color {COLOR} (guessed), depth {DEPTH} (guessed)" in ended.error
    assert "times real time" in ended.error
    for name in ("none", "no_color", "no_depth"):
        assert f"│ {name} " in ended.out
    assert "MM-Robust" in ended.out
    assert ended.report is not None
    assert [scenario["name"] for scenario in ended.report["scenarios"]] == ["none", "no_color", "no_depth"]
    assert ended.report["engine"] == {"name": "brightness", "precision": "fp32"}
    assert ended.report["mm_robust"]["value"] > 0
    page = ended.out.rpartition("written: ")[2].strip()
    assert page.endswith("report.html")
    assert Path(page).read_text(encoding="utf-8") == to_html(ended.report)


def test_a_bag_in_storage_gives_the_same(replayed: Callable[..., Ended], kitchen: Path) -> None:
    pytest.importorskip("fsspec", reason="needs fsspec: pip install 'm3l_ros[fleet]'")
    here = replayed(kitchen, "--label-topic", LABEL)
    stored = replayed(f"{kitchen.as_uri()}/", "--label-topic", LABEL)
    assert stored.status == 0, stored.error
    assert f"kitchen: color {COLOR} (guessed), depth {DEPTH} (guessed)" in stored.error
    assert "times real time" in stored.error
    assert stored.report is not None and here.report is not None
    assert stored.report["bags"][0].pop("path") == kitchen.as_uri()
    assert here.report["bags"][0].pop("path") == str(kitchen)
    assert stored.report == here.report
    ended = replayed(f"{kitchen.as_uri()}/none")
    assert (ended.status, f"{kitchen.as_uri()}/none cannot be copied" in ended.error) == (1, True)


def test_the_report_does_not_depend_on_when_it_was_made(replayed: Callable[..., Ended], kitchen: Path) -> None:
    assert replayed(kitchen).report == replayed(kitchen).report


def test_topics_scenarios_and_settings_are_as_they_are_given(
    replayed: Callable[..., Ended], kitchen: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nfaults:\n  - {kind: delay, modality: depth, delay_s: 0.07}\n")
    settings = ("--sync-timeout", 0.08, "--sensor-timeout", 0.3, "--stamps", "receive")
    ended = replayed(kitchen, "--color-topic", COLOR, "--scenario", file, "none", *settings)
    assert f"color {COLOR}, depth {DEPTH} (guessed)" in ended.error
    assert ended.report is not None
    mine, none = ended.report["scenarios"]
    assert (mine["name"], none["name"]) == ("mine", "none")
    assert mine["figures"]["complete"] == 1
    assert ended.report["settings"]["synchronizer"]["sensor_timeout"] == 0.3
    assert ended.report["settings"]["stamps"] == "receive"
    alone = replayed(kitchen, "--color-topic", "none", "--scenario", "none")
    assert alone.report is not None
    assert alone.report["scenarios"][0]["measures"]["stock_synchronizer"] is None


def test_what_is_replayed_live_is_told_apart(
    kitchen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    @contextmanager
    def open_live(engine: EngineChoice, options: LiveOptions) -> Iterator[Callable[..., ReplayResult]]:
        asked.append((engine.num_threads, options))
        yield played

    def played(*arguments: Any, **others: Any) -> ReplayResult:
        result = replay(*arguments, **others)
        result.measures.live = LiveMeasures(
            compared=12, equal=11, other_images=1, replaced_sets=3, longest_lag_ns=10**9
        )
        result.measures.live.latency.add(70 * 10**6)
        return result

    monkeypatch.setattr(command, "load_engine", lambda *arguments: BrightnessEngine())
    options = ["--live", "--attach", "--threads", "3", "--scenario", "none", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["m3l_replay", str(kitchen), *options])
    command.main(lambda: open_live)
    assert asked == [(3, LiveOptions(True, None, tmp_path))]
    shown = capsys.readouterr().out
    assert "latency p50/95/99" in shown
    assert "70/70/70" in shown
    assert "up to 1.0 s late" in shown
    assert "sets replaced by newer ones while the engine was busy: 3 in none" in " ".join(shown.split())
    report = json.loads((tmp_path / "report.json").read_text())
    (scenario,) = report["scenarios"]
    assert scenario["measures"]["latency_histogram"] == [[0.07, 1]]
    assert scenario["measures"]["live"] == {
        "replaced_sets": 3,
        "frames_labelled_offline_too": 12,
        "equal": 11,
        "from_other_images": 1,
        "longest_lag_s": 1,
    }
    assert (scenario["figures"]["latency_p95"], scenario["figures"]["equal"]) == (0.07, 1)
    page = to_html(report)
    assert "Labels of the node and offline" in page
    assert "Latency from an image to its labels" in page


def test_a_live_replay_needs_what_plays(replayed: Callable[..., Ended], kitchen: Path) -> None:
    ended = replayed(kitchen, "--live")
    assert (ended.status, ended.report) == (1, None)
    assert "--live needs m3l_ros" in ended.error


def test_a_figure_beyond_its_limit_fails(replayed: Callable[..., Ended], kitchen: Path) -> None:
    limits = "rate=9,no_color:gap=0.6,complete=0"
    assert replayed(kitchen, "--fail-under", limits).status == 0
    ended = replayed(kitchen, "--fail-under", "gap=0.2,none:rate=20")
    assert ended.status == 1
    assert "m3l_replay: no_color: gap is 0.502, expected at most 0.2" in ended.error
    assert "m3l_replay: none: rate is" in ended.error
    assert ended.report is not None
    assert len(ended.report["limits"]["failed"]) == 2
    assert "│ none " in ended.out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--fail-under", "speed=1"), "unknown figure 'speed'"),
        (("--fail-under", "miou=0.4"), "miou needs ground truth"),
        (("--scenario", "emm", "--fail-under", "dark:gap=1"), "dark:gap: the scenario is not among those"),
        (("--labels", "a", "b", "c"), "expected one path, or one for each of 1 bags"),
        (("--threads", "-1"), "expected a whole number"),
        (("--sync-timeout", "0"), "expected a number from 1e-09 to 1000"),
        (("--max-interval", "1e300"), "expected a number from 1e-09 to 1000"),
        (("--live", "--jobs", "2"), "argument --live: --annotate, --rerun and --jobs are for replays offline"),
        (("--live", "--ray", "auto"), "argument --live: expected no --ray, and paths on this machine"),
        (("--attach",), "expected --live, too"),
        (("--live", "--domain", "102"), "expected a whole number from 0 to 101, got 102"),
        (("--fail-under", "equal=1"), "equal needs --live"),
    ],
)
def test_what_cannot_be_is_refused_before_the_work(
    replayed: Callable[..., Ended], kitchen: Path, arguments: tuple[str, ...], why: str
) -> None:
    ended = replayed(kitchen, *arguments)
    assert (ended.status, ended.report) == (2, None)
    assert why in " ".join(ended.error.split())


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--depth-topic", "/depht"), r"kitchen: the depth topic /depht was not recorded; image topics in the bag: "),
        (("--label-topic", "/truth"), "the label topic /truth was not recorded"),
        (("--labels", "nowhere"), "nowhere has no labels of kitchen"),
        (("--scenario", "storm"), "No scenario 'storm'"),
        (("--bundle", "nowhere"), "nowhere is not a model bundle"),
    ],
)
def test_what_is_not_there_is_told_before_the_work(
    replayed: Callable[..., Ended], kitchen: Path, arguments: tuple[str, ...], why: str
) -> None:
    ended = replayed(kitchen, *arguments)
    assert (ended.status, ended.report) == (1, None)
    assert why in ended.error


@pytest.mark.parametrize(
    ("ids", "why"),
    [
        (np.zeros((12, 16), np.uint8), "the ground truth is 16 x 12 pixels, the color image 32 x 24 pixels"),
        (np.full(SIZE, 14, np.uint8), "class id 14, but the bundle has 14 classes"),
    ],
)
def test_label_files_that_do_not_fit_are_told_before_the_work(
    replayed: Callable[..., Ended], kitchen: Path, tmp_path: Path, ids: np.ndarray, why: str
) -> None:
    folder = tmp_path / "labels" / "kitchen" / "label"
    folder.mkdir(parents=True)
    (folder / f"{stamps(1)[0]}.png").write_bytes(png(ids))
    ended = replayed(kitchen, "--labels", tmp_path / "labels")
    assert ended.status == 1
    assert why in ended.error
    assert "replays" not in ended.error


def test_labels_of_a_topic_in_another_size_are_told_before_the_work(
    replayed: Callable[..., Ended], tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / "odd", labelled_frames(3, lambda number: np.zeros((12, 16), np.uint8)))
    ended = replayed(bag, "--label-topic", LABEL)
    assert ended.status == 1
    assert "the ground truth is 16 x 12 pixels" in ended.error


def test_label_files_serve_as_ground_truth(replayed: Callable[..., Ended], kitchen: Path, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    for stamp in stamps(COUNT):
        (folder / f"{stamp}.png").write_bytes(png(np.ones(SIZE, np.uint8)))
    by_file = replayed(kitchen, "--labels", folder, "--scenario", "none").report
    by_topic = replayed(kitchen, "--label-topic", LABEL, "--scenario", "none").report
    assert by_file is not None
    assert by_topic is not None
    assert by_file["scenarios"] == by_topic["scenarios"]
    assert by_file["bags"][0]["ground_truth"] == str(folder)


@pytest.mark.parametrize("scenario", ["none", "degraded"])
def test_ground_truth_that_belongs_to_no_frame_is_told(
    replayed: Callable[..., Ended], tmp_path: Path, scenario: str
) -> None:
    between = [stamp + PERIOD_NS // 2 for stamp in stamps(COUNT)]
    recorded = frames(COUNT)
    recorded += [Recorded(LABEL, recorded[-1].time_ns + 1, image(ids(1), "mono8", stamp)) for stamp in between]
    ended = replayed(write_bag(tmp_path / "off", recorded), "--label-topic", LABEL, "--scenario", scenario)
    assert ended.status == 1
    assert "label images of the ground truth of off belongs to a frame" in ended.error


def test_how_many_labels_have_ground_truth_is_told(replayed: Callable[..., Ended], tmp_path: Path) -> None:
    few = labelled_frames(COUNT)[: 3 - COUNT]
    ended = replayed(write_bag(tmp_path / "few", few), "--label-topic", LABEL, "--scenario", "none")
    assert f"labels that have ground truth: 3 of {COUNT} in none" in " ".join(ended.out.split())
    assert ended.report is not None
    assert f"3 of {COUNT} labels have ground truth" in to_html(ended.report)


def test_depth_that_is_not_registered_is_told(replayed: Callable[..., Ended], tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "rig", rig_recording())
    ended = replayed(bag, "--scenario", "none")
    assert ended.status == 0
    told = "is not registered to color on /rig/color/image_raw"
    assert told in ended.error
    assert ended.report is not None
    assert told in ended.report["bags"][0]["warning"]
    assert told in to_html(ended.report)


def test_a_damaged_bag_is_reported_and_fails(replayed: Callable[..., Ended], kitchen: Path, tmp_path: Path) -> None:
    damaged = write_bag(tmp_path / "damaged", frames(600), compression=CompressionMode.STORAGE)
    break_chunk(damaged, 1)
    ended = replayed(kitchen, damaged, "--scenario", "none")
    assert ended.status == 1
    assert "m3l_replay: bag" in ended.error
    assert "damaged cannot be read" in ended.error
    assert ended.report is not None
    runs = ended.report["scenarios"][0]["runs"]
    assert [run["bag"] for run in runs] == ["kitchen", "damaged"]
    assert runs[1]["figures"]["rate"] > 9


def test_a_bag_that_cannot_be_opened_is_told_before_the_work(
    replayed: Callable[..., Ended], kitchen: Path, tmp_path: Path
) -> None:
    truncated = write_bag(tmp_path / "truncated", frames(30))
    file = next(truncated.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[:3000])
    ended = replayed(kitchen, truncated)
    assert (ended.status, ended.report) == (1, None)
    assert "truncated cannot be read" in ended.error


def test_the_output_must_be_a_folder(replayed: Callable[..., Ended], kitchen: Path, tmp_path: Path) -> None:
    (tmp_path / "report").write_text("in the way")
    ended = replayed(kitchen)
    assert ended.status == 1
    assert "cannot be the output folder" in ended.error


def test_words_of_a_bag_are_shown_as_they_are(replayed: Callable[..., Ended], tmp_path: Path) -> None:
    odd = frames(3)
    odd[2] = odd[2]._replace(message=image(rgb(1), "[/b]", START_NS + PERIOD_NS))
    ended = replayed(write_bag(tmp_path / "odd", odd), "--scenario", "none")
    assert ended.status == 0
    assert "'[/b]' is not" in ended.out


@pytest.mark.parametrize(("writer", "file"), [("write_json", "report.json"), ("write_page", "report.html")])
def test_a_full_disk_is_told_after_the_table(
    replayed: Callable[..., Ended], kitchen: Path, monkeypatch: pytest.MonkeyPatch, writer: str, file: str
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, writer, full)
    ended = replayed(kitchen, "--scenario", "none")
    assert ended.status == 1
    assert f"{file} cannot be written: [Errno 28] No space left on device" in ended.error
    assert "│ none " in ended.out


@pytest.mark.slow
def test_a_real_engine_gives_the_same_report_in_one_process_and_in_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'm3l_ros[onnxruntime]'")
    paths = [write_bag(tmp_path / name, labelled_frames(4)) for name in ("kitchen", "hall")]
    contents = []
    for jobs in "12":
        output = tmp_path / jobs
        arguments = [*map(str, paths), "--scenario", "none", "--engine", "onnxruntime", "--threads", "1"]
        arguments += ["--label-topic", LABEL, "--jobs", jobs, "--output", str(output)]
        monkeypatch.setattr(sys, "argv", ["m3l_replay", *arguments])
        command.main()
        contents.append((output / "report.json").read_bytes())
    assert contents[0] == contents[1]


THERMAL = "/thermal/image_raw"


@pytest.fixture
def thermal(tmp_path: Path) -> tuple[Path, Path]:
    """A bundle of three sensors and a bag of them."""
    modalities = (ColorModality(), DepthModality(), IntensityModality())
    counts = np.random.default_rng(0).integers(7000, 9000, (COUNT, *SIZE), np.uint16)
    images = [
        Recorded(THERMAL, stamp + 4 * MS, image(pixels, "mono16", stamp))
        for stamp, pixels in zip(stamps(COUNT), counts, strict=True)
    ]
    recorded = sorted([*frames(COUNT), *images], key=lambda each: each.time_ns)
    return write_onnx_bundle(tmp_path / "bundle", modalities), write_bag(tmp_path / "hall", recorded)


def test_the_sensors_of_a_replay_are_the_bundle_s(
    replayed: Callable[..., Ended], thermal: tuple[Path, Path], tmp_path: Path
) -> None:
    bundle, bag = thermal
    files = []
    for name, fault in (("no_thermal", "kind: gone"), ("small_thermal", "kind: resolution, scale: 0.5")):
        files.append(tmp_path / f"{name}.yaml")
        files[-1].write_text(f"name: {name}\nfaults:\n  - {{{fault}, modality: thermal}}\n")
    scenarios = ("--scenario", "none", "no_color", *files)
    ended = replayed(bag, "--bundle", bundle, *scenarios, "--stamp-offset", "thermal=0.001", "--annotate")
    assert ended.status == 0, ended.error
    assert f"thermal {THERMAL} (guessed)" in ended.error
    assert ended.report is not None
    assert ended.report["bundle"]["modalities"] == ["color", "depth", "thermal"]
    assert ended.report["mm_robust"] is None  # of two sensors
    none, no_color, no_thermal, small = ended.report["scenarios"]
    assert [each["figures"]["complete"] for each in (none, no_color, no_thermal, small)] == [1, 0, 0, 1]
    for scenario in (no_color, no_thermal):
        assert scenario["measures"]["stock_synchronizer"]["number"] == 0
        assert scenario["measures"]["delivery"]["number"] == COUNT
    with open_bag(tmp_path / "report" / "annotated" / "hall_small_thermal") as annotated:
        shown = [deserialize(each) for each in annotated.messages((THERMAL,))]
    assert {(each.encoding, each.height, each.width) for each in shown} == {("16UC1", SIZE[0] // 2, SIZE[1] // 2)}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--topic", "thermal=/camera/color/image_raw"), "--topic is for no sensor of this bundle, not for 'thermal'"),
        (("--topic", "thermal"), "expected SENSOR=TOPIC, got 'thermal'"),
        (("--stamp-offset", "thermal=1"), "expected color=SECONDS or depth=SECONDS, got one for 'thermal'"),
    ],
)
def test_a_sensor_that_the_bundle_has_not_is_refused(
    replayed: Callable[..., Ended], kitchen: Path, arguments: tuple[str, ...], said: str
) -> None:
    ended = replayed(kitchen, *arguments)
    assert ended.status in (1, 2)
    assert said in ended.error


def test_a_fault_of_a_sensor_that_there_is_not_is_refused(
    replayed: Callable[..., Ended], kitchen: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nfaults:\n  - {kind: gone, modality: colour}\n")
    ended = replayed(kitchen, "--scenario", file)
    assert "scenario mine: gone of 'colour', expected one of all, color, depth" in ended.error
