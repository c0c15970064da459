"""A command that is killed before any operation on a file, or meets another one, ends as if that had not been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import forks
from support.small_runs import SMALL_RUNS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module", params=SMALL_RUNS)
def tried(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What has come of a command in all trials."""
    work = SMALL_RUNS[request.param].work(
        "support.trials:try_all", request.param, tmp_path_factory.mktemp("tried"), request
    )
    found: dict[str, Any] = forks.ask(work, timeout=390)
    return found


def test_a_command_that_was_killed_goes_on_to_the_same(tried: dict[str, Any]) -> None:
    assert tried["killed"] == []
    assert tried["states"] > 4


def test_two_at_once_do_what_one_does(tried: dict[str, Any]) -> None:
    """One waits, or is refused."""
    assert tried["together"] == []
    assert tried["refusals"]  # some begin while another one holds the folder, and have no patience here
    for told in tried["refusals"]:
        last = told.splitlines()[-1]
        assert "wait until it has ended" in last or "holds something already" in last
        assert "Error" not in told


def test_what_a_killed_command_leaves_is_what_lay_there_before_the_operation(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    before, left = forks.ask(
        SMALL_RUNS["training.index_folder"].work("support.trials:kill", "training.index_folder", tmp_path, request)
    )
    assert len(set(before)) > 4
    assert left == before
