"""Scenarios of a replay: what befalls a recording on its way to the robot, one YAML file each."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from m3l_core.bags.arrivals import Arrival, Faults
from m3l_core.errors import ScenarioError
from m3l_core.replay.faults.fault import Run
from m3l_core.replay.faults.image_faults import DepthHoles, DepthNoise, Exposure, Noisy, RandomMissing, Resolution
from m3l_core.replay.faults.message_faults import (
    BagLoop,
    ClockOffset,
    Delay,
    Duplicate,
    Frozen,
    Gone,
    Jitter,
    Loss,
    Rate,
    Reorder,
)
from m3l_core.validation import checked
from m3l_core.yaml_files import read_yaml

_MessageKind = Gone | Loss | Delay | Reorder | Duplicate | Jitter | ClockOffset | Frozen | Rate | BagLoop
_ImageKind = Exposure | DepthHoles | DepthNoise | Resolution | RandomMissing | Noisy
AnyFault = Annotated[_MessageKind | _ImageKind, Field(discriminator="kind")]

GROUPS = {
    "emm": ("none", "no_depth", "no_color"),
    "rmm": tuple(f"rmm_{hit}_{percent}" for hit in ("color", "depth") for percent in (25, 50, 75)),
    "nm": ("nm_low", "nm_mid", "nm_high"),
}
"""The conditions of arXiv 2503.18445 -> the scenarios that make them up; EMM's are the subsets of the sensors."""


class Scenario(BaseModel):
    """What befalls a recording, the same every time it is replayed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    """Also of files and folders."""
    description: str = ""
    seed: Annotated[StrictInt, Field(ge=0)] = 0
    faults: tuple[AnyFault, ...]
    """Each takes what the one before it leaves."""

    def faults_for(self, recording: str = "") -> Faults:
        """The faults, one after the other, for one replay or several.

        Args:
            recording: its name, so that each recording is struck at moments of its own.
        """

        def all_faults(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
            stream = iter(arrivals)
            first = next(stream, None)
            if first is None:
                return
            stream = chain([first], stream)
            for number, fault in enumerate(self.faults):
                stream = fault.apply(stream, Run(first.time_ns, self.seed, (zlib.crc32(recording.encode()), number)))
            yield from stream

        return all_faults


def check_sensors(scenarios: Iterable[Scenario], names: Collection[str]) -> None:
    """Whether the faults strike sensors that there are.

    Raises:
        ScenarioError: one does not.
    """
    for scenario in scenarios:
        for fault in scenario.faults:
            struck = getattr(fault, "modality", "all")
            if struck not in ("all", *names):
                known = ", ".join(("all", *names))
                raise ScenarioError(f"scenario {scenario.name}: {fault.kind} of '{struck}', expected one of {known}")


def shipped_scenarios() -> dict[str, Path]:
    """Name -> file of the scenarios that come with the package, sorted."""
    return {path.stem: path for path in sorted(_shipped_folder().glob("*.yaml"))}


def load_scenario(name_or_path: str | Path) -> Scenario:
    """Read a scenario: a shipped one by its name, or any YAML file.

    Raises:
        ScenarioError: there is no such scenario (the text lists those there are), the file is none, or it bears the
            name of a shipped one for something else.
    """
    shipped = shipped_scenarios()
    path = shipped.get(str(name_or_path), Path(name_or_path))
    if not _is_file(path):
        raise ScenarioError(
            f"No scenario '{name_or_path}': expected a YAML file, or one of these: {', '.join(shipped) or 'none found'}"
        )
    try:
        content = read_yaml(path)
    except (OSError, yaml.YAMLError) as error:
        raise ScenarioError(f"scenario {path} cannot be read: {error}") from error
    try:
        scenario = checked(Scenario, content)
    except ValueError as error:
        raise ScenarioError(f"scenario {path}: {error}") from error
    # What MM-Robust and limits are about goes by the names of the shipped ones.
    if path != shipped.get(scenario.name, path) and scenario.faults != load_scenario(scenario.name).faults:
        raise ScenarioError(
            f"scenario {path} has the name of a shipped one, '{scenario.name}', but other faults: rename it"
        )
    return scenario


def load_scenarios(names: Sequence[str | Path]) -> list[Scenario]:
    """Read several, where ``emm``, ``rmm`` and ``nm`` stand for their ``GROUPS``; one named twice is read once.

    Raises:
        ScenarioError: as ``load_scenario``, or two files hold scenarios of one name.
    """
    wanted = dict.fromkeys(member for name in names for member in GROUPS.get(str(name), (name,)))
    scenarios: dict[str, Scenario] = {}
    for name in wanted:
        scenario = load_scenario(name)
        if scenario.name in scenarios:
            raise ScenarioError(f"two scenarios are named '{scenario.name}', the second is {name}: rename one")
        scenarios[scenario.name] = scenario
    return list(scenarios.values())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for a file
        return False


def _shipped_folder() -> Path:
    """In the repository, or in share/ of the prefix under which this file is installed, be it colcon's or pip's."""
    here, inside = Path(__file__).resolve(), Path("config", "scenarios")
    places = [here.parents[3] / inside, *(parent / "share" / "m3l_ros" / inside for parent in here.parents)]
    return next((place for place in places if place.is_dir()), places[0])
