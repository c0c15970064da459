"""Work on a real Ray on this machine: what the local pool gives, to the byte, and no item lost by another's mishap."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from rosbags.rosbag2 import CompressionMode
from support.bags import LABEL, break_chunk, frames, write_bag
from support.fleet_work import mishap, wait_in_turn, work_on
from support.python_path import python_path
from support.replays import InstantSegmenter, describe, labelled_frames

from m3l_core.errors import DatasetError, MissingPackageError
from m3l_core.extraction.label_topic import LabelSource
from m3l_core.extraction.stored_bags import extract_stored_bag
from m3l_core.extraction.task import ExtractionSettings
from m3l_core.fleet import on_ray, spread
from m3l_core.installation import install_command
from m3l_core.replay import command
from m3l_core.replay.bags import BagTask
from m3l_core.replay.faults.scenario import load_scenarios
from m3l_core.replay.recordings.annotated_bag import annotated_bag
from m3l_core.replay.replay import ReplaySettings
from m3l_core.replay.report.report import ReplayReport, to_dict, write_json
from m3l_core.replay.stored_bags import BagRequest, replay_stored_bags, stored_sink

ROOT = Path(__file__).parents[2]
GUESSED = {"color": None, "depth": None}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of a Ray with two cores."""
    ray = pytest.importorskip("ray", reason="needs ray: pip install 'm3l_ros[fleet]'")
    environment = {
        "PYTHONPATH": python_path(ROOT / "test"),
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
    }
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="m3l_ray_") as temporary:
        for name, value in environment.items():
            patch.setenv(name, value)
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=100_000_000,
            log_to_driver=False,
            logging_level=logging.WARNING,
            _temp_dir=temporary,
        )
        try:
            yield ray.get_runtime_context().gcs_address
        finally:
            ray.shutdown()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One of them damaged, one with nothing in it that is wanted."""
    folder = tmp_path_factory.mktemp("bags")
    recorded = [*labelled_frames(12), *frames(600, first=12)]
    attic = write_bag(folder / "attic", recorded, compression=CompressionMode.STORAGE)
    break_chunk(attic, 1)
    hall, kitchen = (write_bag(folder / name, labelled_frames(12)) for name in ("hall", "kitchen"))
    return [kitchen, attic, write_bag(folder / "cellar", [], empty=["/other"]), hall]


def test_results_come_in_the_order_of_the_items_whichever_end_first(cluster: str, tmp_path: Path) -> None:
    """Number 0 ends after number 3."""
    assert list(on_ray(partial(wait_in_turn, tmp_path), [0, 1, 2, 3], cluster)) == [0, 1, 2, 3]
    assert (tmp_path / "3.ended").is_file()


def test_who_dies_is_tried_again_and_who_fails_is_not(
    cluster: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kinds = ["is well", "dies once", "dies", "raises", "is wrong", "is well, too"]
    well, once, dies, raises, wrong, too = on_ray(partial(mishap, tmp_path), kinds, cluster)
    assert (well, once, too) == ("is well", "dies once", "is well, too")
    for failed in (dies, raises, wrong):
        assert isinstance(failed, DatasetError)
    assert str(dies).startswith("dies: its worker ended 3 times, perhaps for want of memory: ")
    assert str(raises) == "raises: no such engine here"
    assert str(wrong).startswith("is wrong: Traceback")
    assert str(wrong).strip().endswith("ZeroDivisionError: of no use")
    calls = {kind: len((tmp_path / kind).read_text().splitlines()) for kind in kinds}
    assert calls == {**dict.fromkeys(kinds, 1), "dies once": 2, "dies": 3}
    told = [record.getMessage().partition(" is tried again")[0] for record in caplog.records]
    assert sorted(told) == ["dies", "dies", "dies once"]


def test_waiting_for_a_larger_machine_is_told(cluster: str, caplog: pytest.LogCaptureFixture) -> None:
    assert list(on_ray(str, [], cluster, cpus=1000)) == []
    assert caplog.messages == ["no machine of the Ray cluster has 1000 CPUs and 0 GPUs: waiting for one"]


def test_ray_is_imported_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, m3l_core.replay.command, training.extract_bag; print({'ray', 'fsspec'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "set()\n", done.stderr
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=re.escape(install_command("fleet"))):
        list(on_ray(str, [1], "auto"))


def test_who_is_interrupted_stops_the_others(cluster: str, tmp_path: Path) -> None:
    """pytest's time limit is below what they would take."""
    results = on_ray(partial(work_on, tmp_path), [0, 1], cluster)
    assert next(results) == 0
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s and not (tmp_path / "1.begun").is_file():
        time.sleep(0.02)
    results.close()
    assert (tmp_path / "1.stopped").is_file()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense"])
def test_where_no_cluster_answers_is_told(cluster: str, address: str) -> None:
    """In a process of its own: this one is connected."""
    code = f"from m3l_core.fleet import on_ray\nlist(on_ray(len, ['a'], {address!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"DatasetError: no Ray cluster answers at '{address}': " in done.stderr


def test_replays_are_those_of_the_pool_to_the_byte(cluster: str, bags: list[Path], tmp_path: Path) -> None:
    scenarios = tuple(load_scenarios(["none", "no_color", "degraded"]))
    requests = [BagRequest(bag.as_uri(), GUESSED, describe(), LABEL) for bag in bags]

    def report_of(ray: str | None) -> dict[str, bytes]:
        folder = tmp_path / ("pool" if ray is None else "cluster")
        sink = partial(stored_sink, annotated_bag, (folder / "annotated").as_uri())
        make_task = partial(
            BagTask, scenarios=scenarios, settings=ReplaySettings(), load=InstantSegmenter(), sinks=(sink,)
        )
        prepared, outcomes = zip(*replay_stored_bags(requests, make_task, ray, jobs=2), strict=True)
        report = ReplayReport(describe(), "instant", "fp32", ReplaySettings(), scenarios, prepared, outcomes)
        write_json(folder / "report.json", to_dict(report))
        return files(folder)

    on_pool, on_cluster = report_of(None), report_of(cluster)
    assert on_cluster == on_pool
    assert len(on_pool) == 1 + 3 * 3 * 3  # metadata, bag and layout
    content = json.loads(on_pool["report.json"])
    assert [bag["path"] for bag in content["bags"]] == [bag.as_uri() for bag in bags]
    well, damaged, unusable, too = (bag["damage"] for bag in content["bags"])
    assert (well, too) == (None, None)
    assert damaged.startswith(f"bag {bags[1].as_uri()} cannot be read: ")
    assert unusable.startswith(f"{bags[2].as_uri()}: ")
    assert content["scenarios"][0]["figures"]["miou"] is not None


def test_extractions_are_those_of_the_pool_to_the_byte(cluster: str, bags: list[Path], tmp_path: Path) -> None:
    def extracted(ray: str | None) -> tuple[list[object], dict[str, bytes]]:
        folder = tmp_path / ("pool" if ray is None else "cluster")
        settings = ExtractionSettings(LabelSource(LABEL), rate_hz=5)
        work = partial(extract_stored_bag, folder.as_uri(), GUESSED, settings, 1)
        outcomes = list(spread(work, [bag.as_uri() for bag in bags], ray, jobs=2))
        return [str(each) if isinstance(each, DatasetError) else each for each in outcomes], files(folder)

    outcomes, written = extracted(None)
    assert extracted(cluster) == (outcomes, written)
    assert "cellar" in str(outcomes[2])
    assert {name.partition("/")[0] for name in written} == {"kitchen", "attic", "hall"}


def test_the_command_replays_on_a_cluster(
    cluster: str, bags: list[Path], tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replayed(output: str, *arguments: str) -> dict[str, bytes]:
        options = ["--scenario", "none", "no_depth", "--engine", "torch", "--precision", "fp32", "--threads", "1"]
        options += ["--output", output]
        monkeypatch.setattr(sys, "argv", ["m3l_replay", str(bags[0]), str(bags[3]), *options, *arguments])
        command.main()
        return files(tmp_path / Path(output).name)

    on_cluster = replayed(f"file://{tmp_path}/cluster", "--ray", cluster, "--bundle", tiny_bundle.as_uri())
    assert on_cluster == replayed(f"{tmp_path}/here", "--bundle", str(tiny_bundle))
    assert set(on_cluster) == {"report.json", "report.html"}


def test_the_command_extracts_on_a_cluster(cluster: str, tmp_path: Path) -> None:
    for name in ("hall", "kitchen"):
        write_bag(tmp_path / "bags" / name, frames(4))
    script = [sys.executable, str(ROOT / "training" / "extract_bag.py")]
    options = ["bags/hall", "bags/kitchen", "bags/none", "bags/../bags/hall", "--output", "data", "--ray", cluster]
    done = subprocess.run([*script, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "hall: color /camera/color/image_raw (guessed), depth /camera/depth/image_raw (guessed)\n" in done.stdout
    first, second = done.stderr.strip().splitlines()
    assert first.endswith(f"would both become {tmp_path}/data/hall: rename one")
    assert second.startswith(f"extract_bag: bag {tmp_path}/bags/none cannot be read")
    assert len(list((tmp_path / "data").rglob("*.png"))) == 16
