"""Scenarios are files that anybody can write: what is wrong with one is said; those that are shipped all load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from m3l_core.bags.arrivals import Arrival
from m3l_core.errors import M3LError, ScenarioError
from m3l_core.evaluation.conditions import NOISE_LEVELS, ZERO_RATES
from m3l_core.replay.faults import scenario as scenario_module
from m3l_core.replay.faults.scenario import (
    GROUPS,
    Scenario,
    check_sensors,
    load_scenario,
    load_scenarios,
    shipped_scenarios,
)

FOLDER = Path(__file__).parents[4] / "config" / "scenarios"
NAMES = {"none", "no_color", "no_depth", "intermittent", "degraded", *GROUPS["rmm"], *GROUPS["nm"]}
LOSS = {"kind": "loss", "modality": "color", "probability": 0.5}
HOLES = {"kind": "depth_holes", "share": 0.5}


def arrivals(number: int = 60) -> list[Arrival]:
    return [
        Arrival(10**18 + instant * 10**8, modality, f"{modality} {instant}", 10**18 + instant * 10**8)
        for instant in range(number)
        for modality in ("color", "depth")
    ]


def made(*faults: dict[str, object], seed: int = 3) -> Scenario:
    return Scenario.model_validate({"name": "made", "seed": seed, "faults": faults})


def outcome(scenario: Scenario, recording: str = "") -> list[tuple[object, ...]]:
    depth = np.full((12, 16), 2000, np.uint16)
    return [
        (a.message, a.time_ns, a.stamp_ns, *(edit(depth).tobytes() for edit in a.edits))
        for a in scenario.faults_for(recording)(arrivals())
    ]


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_shipped_scenario_loads_and_says_what_it_imitates(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.description
    assert shipped_scenarios()[name] == FOLDER / f"{name}.yaml"
    assert shipped_scenarios()[name].read_text().startswith("# ")
    list(scenario.faults_for("bag")(arrivals()))


def test_no_other_scenario_is_shipped() -> None:
    assert list(shipped_scenarios()) == sorted(NAMES)


def test_the_shipped_conditions_are_those_of_the_paper() -> None:
    for level, (salt_pepper, sigma) in NOISE_LEVELS.items():
        (fault,) = load_scenario(f"nm_{level}").faults
        assert fault.model_dump(include={"modality", "salt_pepper", "sigma"}) == {
            "modality": "all",
            "salt_pepper": salt_pepper,
            "sigma": sigma,
        }
    for rate in ZERO_RATES:
        for modality in ("color", "depth"):
            (fault,) = load_scenario(f"rmm_{modality}_{round(100 * rate)}").faults
            assert fault.model_dump(include={"modality", "zero_rate"}) == {"modality": modality, "zero_rate": rate}


def test_the_subsets_of_emm() -> None:
    left = [{a.modality for a in each.faults_for()(arrivals())} for each in load_scenarios(["emm"])]
    assert left == [{"color", "depth"}, {"color"}, {"depth"}]


def test_both_cameras_are_never_out_at_once() -> None:
    left = {a.message for a in load_scenario("intermittent").faults_for()(arrivals(600))}
    out = [[f"{name} {instant}" not in left for instant in range(600)] for name in ("color", "depth")]
    assert [sum(each) for each in out] == [120, 120]
    assert not any(color and depth for color, depth in zip(*out, strict=True))


def test_groups_and_names_are_read_once_and_in_order(tmp_path: Path) -> None:
    mine = written(tmp_path, "{name: mine, faults: []}")
    names = [scenario.name for scenario in load_scenarios(["no_color", "emm", mine, "nm", mine])]
    assert names == ["no_color", "none", "no_depth", "mine", "nm_low", "nm_mid", "nm_high"]


def test_two_scenarios_of_one_name_would_overwrite_each_other(tmp_path: Path) -> None:
    mine = written(tmp_path, "{name: none, faults: []}")
    with pytest.raises(ScenarioError, match=r"two scenarios are named 'none', the second is .*mine\.yaml"):
        load_scenarios(["none", mine])


def test_the_name_of_a_shipped_scenario_means_what_is_shipped(tmp_path: Path) -> None:
    same = tmp_path / "same.yaml"
    same.write_text((FOLDER / "no_color.yaml").read_text().replace("seed: 0", "seed: 3"))
    assert load_scenario(same).seed == 3
    other = written(tmp_path, "{name: no_color, faults: [{kind: gone, modality: depth}]}")
    with pytest.raises(ScenarioError, match=r"mine\.yaml has the name of a shipped one, 'no_color', but other faults"):
        load_scenario(other)


def test_without_faults_everything_passes_as_it_is() -> None:
    recorded = arrivals()
    assert [id(a) for a in load_scenario("none").faults_for()(recorded)] == [id(a) for a in recorded]
    assert list(load_scenario("degraded").faults_for()([])) == []


def test_faults_befall_what_the_one_before_leaves() -> None:
    frozen = {"kind": "frozen", "modality": "color"}
    late_start = {"kind": "gone", "until_s": 1.0}
    first = next(a.message for a in made(late_start, frozen).faults_for()(arrivals()))
    assert first == "color 10"
    first = next(a.message for a in made(frozen, late_start).faults_for()(arrivals()))
    assert first == "color 0"


def test_intervals_count_from_the_recording_s_first_message_whatever_is_lost() -> None:
    both = made({"kind": "gone", "until_s": 2.0}, {"kind": "gone", "from_s": 2.0, "until_s": 3.0})
    assert next(a.message for a in both.faults_for()(arrivals())) == "color 30"


def test_the_same_seed_gives_the_same_and_another_seed_or_recording_something_else() -> None:
    scenario = made(LOSS, HOLES)
    assert outcome(scenario) == outcome(scenario)
    assert outcome(scenario, "a") == outcome(made(LOSS, HOLES), "a")
    others = [outcome(scenario), outcome(scenario, "a"), outcome(scenario, "b"), outcome(made(LOSS, HOLES, seed=4))]
    assert len({tuple(other) for other in others}) == 4


def test_a_fault_strikes_a_sensor_that_there_is() -> None:
    loop = {"kind": "bag_loop", "length_s": 1.0}
    fine = made(LOSS, {"kind": "gone"}, HOLES, loop)
    check_sensors([fine], ["color", "depth"])
    with pytest.raises(ScenarioError, match=r"scenario made: depth_holes of 'depth', expected one of all, color$"):
        check_sensors([fine], ["color"])


def test_one_faults_function_serves_several_replays() -> None:
    faults = made(LOSS).faults_for()
    assert [a.message for a in faults(arrivals())] == [a.message for a in faults(arrivals())]


def test_a_further_fault_changes_nothing_that_the_others_draw() -> None:
    alone = outcome(made(LOSS, HOLES))
    further = outcome(made(LOSS, HOLES, {"kind": "gone", "modality": "depth", "from_s": 3.0}))
    assert [one for one in further if one[1] < 10**18 + 3 * 10**9] == [
        one for one in alone if one[1] < 10**18 + 3 * 10**9
    ]
    lost = {one[0] for one in outcome(made(LOSS, LOSS))}
    assert lost < {one[0] for one in outcome(made(LOSS))}, "each fault draws for itself"


def test_scenario_files_of_a_user(tmp_path: Path) -> None:
    path = written(tmp_path, "name: mine\nfaults:\n  - {kind: gone, modality: color, from_s: 1, until_s: 2}\n")
    scenario = load_scenario(path)
    assert scenario == load_scenario(str(path))
    assert (scenario.name, scenario.description, scenario.seed, len(scenario.faults)) == ("mine", "", 0, 1)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("name: [", "cannot be read"),
        ("", "the file: expected a mapping, got None"),
        ("{name: mine}", "faults: it is missing"),
        ("{name: ../mine, faults: []}", r"name: expected a text to match pattern .*, got '\.\./mine'"),
        (
            "{name: mine, faults: [], sed: 1}",
            r"sed: unknown key \(for seed\?\), expected one of: name, description, seed, faults",
        ),
        ("{name: mine, faults: [], seed: -1}", "seed: .*greater than or equal to 0, got -1"),
        ("{name: mine, faults: [{modality: color}]}", r"faults\.0\.kind: it is missing: one of gone, loss"),
        ("{name: mine, faults: {kind: gone}}", r"faults: expected a list, got \{'kind': 'gone'\}"),
        ("{name: mine, faults: [{kind: loss, probability: 5e-2}]}", r"probability: .* number.*'5e-2'.* as in 5\.0e-2"),
        ("{name: mine, faults: [{kind: gone, from_s: 1.0e+300}]}", "from_s: .*less than or equal to 1000000000"),
        ("{name: &n mine, faults: [*m]}", r"cannot be read: '\*m' stands for"),
        (
            "{name: mine, faults: [{kind: explode}]}",
            r"faults\.0\.kind: expected one of gone, loss.*bag_loop.*noisy, got 'explode'",
        ),
        (
            "{name: mine, faults: [{kind: none_such, from: 2}, {kind: delay, delay_s: 9}]}",
            r"faults\.0\.kind: .*none_such.*; faults\.1\.delay_s: .*less than or equal to 5, got 9",
        ),
        (
            "{name: mine, faults: [{kind: black, share: 0.5}]}",
            r"faults\.0\.share: unknown key, expected one of: .*modality, from_s, until_s, every_s, for_s, prob",
        ),
        ("{name: mine, faults: [{kind: gone, until_s: 0}]}", r"faults\.0: .*until_s \(0\) must be above from_s"),
        ("{name: mine, faults: [{kind: loss, probability: 2}]}", r"probability: .*less than or equal to 1, got 2"),
    ],
)
def test_a_file_that_is_no_scenario_says_what_was_expected(tmp_path: Path, text: str, what: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(M3LError, match=what) as caught:
        load_scenario(path)
    assert str(path) in str(caught.value)


def test_bytes_are_no_scenario(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_scenario(path)


@pytest.mark.parametrize("name", ["no_lidar", "", ".", "emm", "config/none.yaml", "x" * 300])
def test_an_unknown_scenario_lists_those_there_are(name: str) -> None:
    with pytest.raises(ScenarioError, match=rf"No scenario '{name}'.*degraded, intermittent, nm_high.*none, rmm_color"):
        load_scenario(name)


@pytest.mark.parametrize("packages", ["lib/python3.12/site-packages", "local/lib/python3.12/dist-packages", "."])
def test_an_installed_package_finds_its_scenarios(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packages: str
) -> None:
    folder = tmp_path / "share" / "m3l_ros" / "config" / "scenarios"
    folder.mkdir(parents=True)
    (folder / "only.yaml").write_text("{name: only, faults: []}")
    module = tmp_path / packages / "m3l_core" / "replay" / "faults" / "scenario.py"
    monkeypatch.setattr(scenario_module, "__file__", str(module))
    assert list(shipped_scenarios()) == ["only"]
    assert load_scenario("only").name == "only"
    (folder / "only.yaml").unlink()
    folder.rmdir()
    with pytest.raises(ScenarioError, match="or one of these: none found"):
        load_scenario("none")
