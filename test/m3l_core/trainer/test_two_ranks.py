"""Two processes train as one does."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.python_path import python_path
from support.rooms import write_rooms, write_several_sets
from support.two_ranks import CASES, PARTS, WatchedTrainer, case_data, case_recipe, norm_case, normed

ROOT = Path(__file__).parents[3]
pytestmark = [
    pytest.mark.needs("torch"),
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]
Found = tuple[dict[str, Any], dict[str, Any]]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def rooms_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_several_sets(write_rooms(tmp_path_factory.mktemp("rooms")))


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def found(rooms_folder: Path, output: Path) -> Found:
    """What each rank found."""
    command = [sys.executable, str(ROOT / "test" / "support" / "two_ranks.py"), str(rooms_folder), str(output)]
    shared = {
        "PYTHONPATH": python_path(ROOT / "test"),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "CUDA_VISIBLE_DEVICES": "",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "2",
    }
    processes = [
        subprocess.Popen(command, env=shared | {"RANK": rank}, stderr=subprocess.PIPE, text=True) for rank in "01"
    ]
    try:
        told = [process.communicate(timeout=500)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(told)
    one, other = (torch.load(output / f"rank_{rank}.pt", weights_only=True) for rank in (0, 1))
    return one, other


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def alone(case: str, rooms_folder: Path, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> WatchedTrainer:
    data = case_data(case, rooms_folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)  # the ranks have no GPU either
        trainer = WatchedTrainer(case_recipe(case), data, tmp_path_factory.mktemp("alone"))
    trainer.run()
    return trainer


def test_the_losses_are_those_of_one_process(found: Found, case: str, alone: WatchedTrainer) -> None:
    assert found[0][case]["losses"] == found[1][case]["losses"]
    for one, two in zip(alone.losses, found[0][case]["losses"], strict=True):
        # Two students that know nothing yet: a pixel may be of one class for one process, and of another for two.
        assert two == pytest.approx(one, rel=1e-3 if case == "cross" else 1e-4, abs=1e-5)


def test_figures_are_those_of_one_process(found: Found, case: str, alone: WatchedTrainer) -> None:
    assert found[0][case]["history"] == found[1][case]["history"]
    for one, two in zip(alone.history, found[0][case]["history"], strict=True):
        assert two["iteration"] == one["iteration"]
        assert two["miou"] == pytest.approx(one["miou"], abs=0.002)
        for share, shared in zip(one["kept"], two["kept"], strict=True):
            assert shared == (None if share is None else pytest.approx(share, abs=0.005))


def test_ranks_end_with_the_same_network(found: Found, case: str, alone: WatchedTrainer) -> None:
    expected = alone.averaged_network.state_dict()
    for name, tensor in found[0][case]["average"].items():
        assert torch.equal(tensor, found[1][case]["average"][name]), name
        # A bias before a norm moves by rounding errors alone.
        assert torch.allclose(tensor, expected[name], atol=3e-5), name


def test_ranks_see_parts_of_the_same_batch(found: Found, case: str, alone: WatchedTrainer) -> None:
    lists = 1 if case == "supervised" else 2
    parts = list(zip(found[0][case]["sources"], found[1][case]["sources"], strict=True))
    assert len(parts) == len(alone.sources) == 4
    for (one, other), whole in zip(parts, alone.sources, strict=True):
        assert len(one) == len(other) == 2 * lists
        halves = [part for pair in zip(one.chunk(lists), other.chunk(lists), strict=True) for part in pair]
        assert torch.equal(torch.cat(halves), whole)


def test_only_the_first_rank_writes_and_tells(found: Found, case: str, output: Path) -> None:
    assert [path.name for path in (output / case).iterdir()] == ["checkpoint.pt"]
    assert found[0][case]["told"] == [1, 2, 3, 4]
    assert found[1][case]["told"] == []


def test_all_ranks_stop_where_one_is_told_to_and_go_on_together(found: Found) -> None:
    for rank in found:
        stopped = rank["told to stop"]
        assert stopped["iteration"] == 2
        assert stopped["error"].startswith("Interrupted: stopped by SIGTERM after iteration 2")
        assert rank["resumed"]["iteration"] == 2
        assert rank["resumed"]["losses"] == rank["everything"]["losses"]
        assert rank["resumed"]["history"] == rank["everything"]["history"]


def test_ranks_do_not_go_on_from_different_iterations(found: Found) -> None:
    for rank in found:
        assert rank["apart"].startswith("CheckpointError: one process goes on from iteration 0, another from 4:")


def test_all_ranks_stop_where_one_sees_what_is_not_a_number(found: Found, output: Path) -> None:
    for rank in found:
        assert rank["not a number"]["iteration"] == 2
        assert rank["not a number"]["error"].startswith("M3LError: the loss became nan at iteration 2")
    assert not (output / "not a number").exists()


def test_a_norm_takes_its_statistics_over_all_ranks(found: Found) -> None:
    expected = normed(*norm_case())
    one, other = found[0]["norm"], found[1]["norm"]
    assert set(one) == set(expected)
    for name in ("outputs", "gradient", "evaluated"):
        assert [len(one[name]), len(other[name])] == list(PARTS)
        torch.testing.assert_close(torch.cat([one[name], other[name]]), expected[name], rtol=1e-3, atol=1e-4)
    for name in ("gradient of weight", "gradient of bias"):
        torch.testing.assert_close(one[name] + other[name], expected[name], rtol=1e-3, atol=1e-3)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(one[name], expected[name], rtol=1e-5, atol=1e-5)
        assert torch.equal(one[name], other[name])
