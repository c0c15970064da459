"""The state of a training on disk: whole or not at all, whatever happens to the disk."""

from __future__ import annotations

import logging
import os
import pickle
import resource
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.rooms import METHODS, recipe, training_data

from m3l_core import files
from m3l_core.datasets.folder import Sample
from m3l_core.errors import CheckpointError, RecipeError
from m3l_core.trainer.checkpoint import ingredients, load_checkpoint, save_checkpoint
from m3l_core.trainer.optimization import new_networks
from m3l_core.trainer.trainer import Trainer

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]
Rooms = tuple[list[Sample], list[Sample]]
STATE: dict[str, Any] = {"made_with": {"seed": 1}, "weights": torch.arange(1000.0), "losses": [{"loss": 1.5}]}


@contextmanager
def disk_full_after(size: int) -> Iterator[None]:
    """No file can grow beyond ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def new_trainer(rooms: Rooms, output: Path, **changes: Any) -> Trainer:
    return Trainer(recipe(**changes), training_data(rooms), output, workers=0)


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "checkpoint.pt"
    save_checkpoint(path, STATE)
    loaded = load_checkpoint(path, {"seed": 1})
    assert torch.equal(loaded["weights"], STATE["weights"])
    assert loaded["losses"] == STATE["losses"]
    assert list(path.parent.iterdir()) == [path]


def test_a_state_is_on_the_disk_before_it_replaces_the_former(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    former, synced = path.read_bytes(), []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            synced.append((os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size, path.read_bytes() == former))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    save_checkpoint(path, STATE | {"weights": torch.zeros(2000)})
    assert (path.stat().st_ino, path.stat().st_size, True) in synced


class Program:
    """Runs when it is unpickled by a reader that lets it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_no_program_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    torch.save(STATE | {"more": Program(tmp_path / "it ran")}, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="is no checkpoint of a training") as refused:
        load_checkpoint(tmp_path / "checkpoint.pt", {"seed": 1})
    assert "weights_only" not in str(refused.value)  # torch advises to run it
    assert not (tmp_path / "it ran").exists()
    torch.load(tmp_path / "checkpoint.pt", weights_only=False)
    assert (tmp_path / "it ran").exists()


def test_a_state_that_cannot_be_written_whole_never_replaces_a_good_one(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, STATE | {"weights": torch.zeros(1000), "bad": (part for part in ())})
    assert torch.equal(load_checkpoint(path, {"seed": 1})["weights"], STATE["weights"])
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("size", [0, 100, 4000])
def test_a_full_disk_is_told_and_the_last_good_state_stays(tmp_path: Path, size: int) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    written = path.read_bytes()
    assert len(written) > 4000
    message = r"checkpoint\.pt could not be written .*File too large.*; the last good checkpoint is kept"
    with disk_full_after(size), pytest.raises(CheckpointError, match=rf"(?s){message}"):
        save_checkpoint(path, STATE | {"weights": torch.zeros(1000)})
    assert path.read_bytes() == written
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / f".checkpoint.pt.{files._HOST}-{ended.pid}-140001.part").write_bytes(b"half")
    save_checkpoint(path, STATE)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["file/checkpoint.pt", "folder"])
def test_a_place_that_cannot_be_written_to_is_told_where_nothing_is_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"could not be written \(.*\)$"):
        save_checkpoint(tmp_path / name, STATE)


@pytest.mark.parametrize(
    "content",
    [b"", b"no checkpoint", b"\0" * 5000, pickle.dumps(STATE["losses"]), pickle.dumps({"made_with": {"seed": 1}})],
)
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt is no checkpoint of a training .*remove it to start"):
        load_checkpoint(path, {"seed": 1})
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "content", [[1], None, torch.zeros(3), {"weights": 1}, {"made_with": None}, {"made_with": [1, 2]}]
)
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_another_file_of_torch_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="is no checkpoint of a training"):
        load_checkpoint(tmp_path / "checkpoint.pt", {"seed": 1})


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1, exclude_max=True))
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(CheckpointError, match="is no checkpoint of a training"):
        load_checkpoint(path, {"seed": 1})


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 3999), st.integers(1, 255))
def test_a_weight_that_changed_on_the_disk_is_noticed(tmp_path: Path, place: int, change: int) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    content = bytearray(path.read_bytes())
    content[content.index(STATE["weights"].numpy().tobytes()) + place] ^= change
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path, {"seed": 1})


def test_another_recipe_is_refused_by_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    with pytest.raises(RecipeError, match=r"other data \(differs in head, seed\): choose another output"):
        load_checkpoint(path, {"seed": 2, "head": 8})


@pytest.fixture(scope="module")
def whole(rooms: Rooms, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    trainer = new_trainer(rooms, tmp_path_factory.mktemp("whole"), method=METHODS["mean teacher"])
    trainer.run()
    return trainer


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({"seed": 1, "head_width": 8}, "head_width, seed"),
        ({"method": METHODS["M3L"]}, "method"),
        ({"method": METHODS["mean teacher"] | {"cutmix": 0.1}}, "method"),
    ],
)
def test_a_training_does_not_go_on_by_another_recipe(
    rooms: Rooms, whole: Trainer, changes: dict[str, Any], differing: str
) -> None:
    with pytest.raises(RecipeError, match=rf"other data \(differs in {differing}\): choose another output"):
        new_trainer(rooms, whole.output, **{"method": METHODS["mean teacher"]} | changes)


def test_a_training_does_not_go_on_with_other_frames(rooms: Rooms, whole: Trainer) -> None:
    training, validation = rooms
    with pytest.raises(RecipeError, match=r"other data \(differs in frames of validation\)"):
        Trainer(whole.recipe, training_data((training, validation[:1])), whole.output, workers=0)


@pytest.mark.parametrize(("source", "differing"), [("runs/start", ["content of start_weights"]), ("random", [])])
def test_start_weights_count_by_what_is_in_them(rooms: Rooms, source: str, differing: list[str]) -> None:
    made, data = recipe(start_weights="".join(source)), training_data(rooms)  # another string, as from a file
    one, other = (
        ingredients(made, data, new_networks(recipe(seed=seed))[0][0])  # as if read from there
        for seed in (0, 1)
    )
    assert [name for name in one if one[name] != other[name]] == differing


def test_start_weights_count_by_the_encoder_and_a_network_that_teaches_counts_whole(rooms: Rooms) -> None:
    made, data = recipe(start_weights="runs/start"), training_data(rooms)
    (start,), (full,) = (new_networks(recipe(seed=seed))[0] for seed in (0, 1))  # as if read from there
    former, taught = ingredients(made, data, start), ingredients(made, data, start, full)
    with torch.no_grad():
        for network in (start, full):
            network.head.classify.weight.add_(1.0)
    assert ingredients(made, data, start) == former
    now = ingredients(made, data, start, full)
    assert [name for name in now if now[name] != taught[name]] == ["content of start_weights"]


@pytest.mark.parametrize("lost", ["averages", "losses", "kept"])
def test_a_training_does_not_go_on_from_another_versions_state(
    rooms: Rooms, tmp_path: Path, whole: Trainer, lost: str
) -> None:
    state = torch.load(whole.output / "checkpoint.pt", weights_only=True)
    del state[lost]
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match=rf"written by another version \('{lost}'\)"):
        new_trainer(rooms, tmp_path, method=METHODS["mean teacher"])


class DiskWatcher:
    """The disk is full from the fourth step until ``free_at``."""

    def __init__(self, free_at: int) -> None:
        self.free_at = free_at
        self.full: Any = None

    def step(self, trainer: Trainer) -> None:
        if trainer.iteration == 4:
            self.full = disk_full_after(20_000)
            self.full.__enter__()
        elif trainer.iteration == self.free_at:
            self.free()

    def evaluation(self, trainer: Trainer) -> None:
        pass

    def free(self) -> None:
        if self.full is not None:
            self.full.__exit__(None, None, None)
            self.full = None


@pytest.mark.parametrize("free_at", [8, 99])
def test_a_training_goes_on_while_the_disk_is_full_but_does_not_end_so(
    rooms: Rooms, tmp_path: Path, whole: Trainer, caplog: pytest.LogCaptureFixture, free_at: int
) -> None:
    watcher = DiskWatcher(free_at)
    made, data = recipe(method=METHODS["mean teacher"]), training_data(rooms)
    trainer = Trainer(made, data, tmp_path, workers=0, monitors=(watcher,))
    with caplog.at_level(logging.ERROR):
        try:
            if free_at == 8:
                trainer.run()
            else:
                with pytest.raises(CheckpointError, match="the last good checkpoint is kept"):
                    trainer.run()
        finally:
            watcher.free()
    assert trainer.iteration == 10
    assert trainer.losses == whole.losses
    assert "the training goes on" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    again = Trainer(made, data, tmp_path, workers=0)
    assert again.iteration == (10 if free_at == 8 else 3)
    again.run()
    assert again.losses == whole.losses
    assert again.history == whole.history


def test_a_packed_checkpoint_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
    with pytest.raises(CheckpointError, match=r"archive/data\.pkl in it is packed, which torch does not do"):
        load_checkpoint(path, STATE["made_with"])
