"""What the node can be told, and how it refuses the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue, SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import ReliabilityPolicy
from support import messages
from support.dds_domain import own_domain
from support.driver import COLOR, DEPTH, Driver
from support.engines import ConstantEngine, loader
from support.rig import CALM, ROOT, NodeProcess, Rig

from m3l_ros.parameters import PARAMETERS, Scope

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]
FILE = ROOT / "config" / "segment.yaml"
TYPES = {
    bool: ParameterType.PARAMETER_BOOL,
    int: ParameterType.PARAMETER_INTEGER,
    float: ParameterType.PARAMETER_DOUBLE,
    str: ParameterType.PARAMETER_STRING,
    list: ParameterType.PARAMETER_STRING_ARRAY,
}
QOS_OVERRIDES = {
    "qos_overrides./color/image_raw.subscription.reliability": "reliable",
    "qos_overrides./segmentation/mask.publisher.reliability": "best_effort",
}


def flat(parameters: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in parameters.items():
        values |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return values


@pytest.fixture(scope="module")
def rig(tiny_bundle: Path) -> Iterator[Rig]:
    cli_args = ["--ros-args", "--params-file", str(FILE)]
    with Rig(tiny_bundle, QOS_OVERRIDES, cli_args=cli_args, active=False) as rig:
        yield rig


@pytest.fixture
def driver(rig: Rig) -> Driver:
    return rig.driver


def set_parameter(driver: Driver, name: str, value: Any) -> SetParametersResult:
    driver.wait_for("parameter services", driver.parameters.services_are_ready)
    return driver.finish(driver.parameters.set_parameters([Parameter(name, value=value)]), f"set {name}").results[0]


def get_parameter(driver: Driver, name: str) -> Any:
    driver.wait_for("parameter services", driver.parameters.services_are_ready)
    value = driver.finish(driver.parameters.get_parameters([name]), f"get {name}").values[0]
    return parameter_value_to_python(value)


def test_the_file_documents_every_parameter_with_its_default_and_type() -> None:
    documented = flat(yaml.safe_load(FILE.read_text())["/**"]["ros__parameters"])
    declared = {name: spec.default for name, spec in PARAMETERS.items()}
    assert documented == declared
    assert {name: type(value) for name, value in documented.items()} == {
        name: type(value) for name, value in declared.items()
    }


def test_every_parameter_is_declared_with_its_type_its_range_and_a_description(driver: Driver) -> None:
    driver.wait_for("parameter services", driver.parameters.services_are_ready)
    names = list(PARAMETERS)
    descriptors = driver.finish(driver.parameters.describe_parameters(names), "describe").descriptors
    assert [descriptor.name for descriptor in descriptors] == names
    for descriptor in descriptors:
        spec = PARAMETERS[descriptor.name]
        assert descriptor.type == TYPES[type(spec.default)], descriptor.name
        assert descriptor.description, descriptor.name
        assert descriptor.read_only == spec.read_only, descriptor.name
        if isinstance(spec.default, int | float) and not isinstance(spec.default, bool):
            (limits,) = [*descriptor.integer_range, *descriptor.floating_point_range]
            assert limits.from_value <= spec.default <= limits.to_value, descriptor.name


def test_the_node_takes_the_file_as_it_is(driver: Driver) -> None:
    for name, spec in PARAMETERS.items():
        if name not in {"bundle", *CALM}:
            assert get_parameter(driver, name) == spec.default, name


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("sensor_timeout", -1.0, "sensor_timeout"),
        ("sensor_timeout", "soon", "Wrong parameter type"),
        ("overlay_opacity", 1.5, "overlay_opacity"),
        ("health.black_level", 255, "health.black_level"),
        ("health.frozen_frames", 1, "health.frozen_frames: expected 0 (off) or at least 2"),
        ("output_size", "320", "output_size: expected reference, network, or WIDTHxHEIGHT such as 320x240, got '320'"),
        ("output_size", "0x240", "expected sides of 1 to 8192 pixels"),
        ("unlabelled_value", 7, "unlabelled_value"),
        ("engine", "torch", "read-only"),
        ("bundle", "/elsewhere", "read-only"),
        ("autostart", True, "read-only"),
    ],
)
def test_a_bad_value_is_refused_with_the_reason(driver: Driver, name: str, value: Any, reason: str) -> None:
    before = get_parameter(driver, name)
    result = set_parameter(driver, name, value)
    assert not result.successful
    assert reason in result.reason
    assert get_parameter(driver, name) == before


def test_a_good_value_is_taken(driver: Driver) -> None:
    before = get_parameter(driver, "sensor_timeout")
    assert set_parameter(driver, "sensor_timeout", 2.0).successful
    assert get_parameter(driver, "sensor_timeout") == 2.0
    assert set_parameter(driver, "sensor_timeout", before).successful


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("image_transport", "compressed"),
        ("depth_image_transport", "compressed"),
        ("subscription_queue_size", 7),
        ("sync_queue_size", 9),
        ("stamp_offset.depth", 0.25),
        ("unlabelled_value", 0),
        ("use_sim_time", True),
    ],
)
def test_a_structural_value_is_refused_while_it_would_do_nothing(driver: Driver, name: str, other: Any) -> None:
    before = get_parameter(driver, name)
    assert driver.change_state("configure")
    assert driver.change_state("activate")
    result = set_parameter(driver, name, other)
    assert (result.successful, result.reason) == (False, f"{name}: structural: deactivate first")
    assert get_parameter(driver, name) == before
    assert driver.change_state("deactivate")
    assert set_parameter(driver, name, other).successful
    assert set_parameter(driver, name, before).successful
    assert driver.change_state("cleanup")


def test_an_empty_list_in_a_file_is_none_at_all(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("/**: {ros__parameters: {classes_of_interest: []}}\n")
    cli_args = ["--ros-args", "--params-file", str(tmp_path / "mine.yaml")]
    with Rig(tiny_bundle, cli_args=cli_args, active=False) as rig:
        assert get_parameter(rig.driver, "classes_of_interest") == [""]
        assert rig.driver.change_state("configure")


def test_the_file_and_the_descriptions_say_which_are_structural() -> None:
    structural: dict[str, bool] = {}
    heading = comment = ""
    for text in map(str.strip, FILE.read_text().splitlines()):
        if text.startswith("# ---"):
            heading, comment = text, ""
        elif text.startswith("#"):
            comment += text
        elif text and not text.endswith(":"):  # of a group the comment stands above its name
            structural[text.partition(":")[0]] = "Structural" in heading + comment
            comment = comment if text.startswith("color") else ""
    for name, spec in PARAMETERS.items():
        assert structural[name.rpartition(".")[2]] == (spec.scope is not Scope.AT_ONCE), name
        assert spec.descriptor().description.endswith(spec.scope.value)


def test_thresholds_take_effect_at_once(tiny_bundle: Path) -> None:
    with Rig(tiny_bundle, engine_loader=loader(ConstantEngine())) as rig:
        driver = rig.driver
        driver.label_pair()
        driver.make_color = lambda count: messages.image(np.full((*messages.SIZE, 3), 20 + count % 3, np.uint8), "rgb8")
        driver.label_pair()
        assert set_parameter(driver, "health.black_level", 60).successful
        driver.repeat(
            "drop", driver.send_pair, lambda _: driver.status("color").values.get("last reason") == "black image"
        )
        assert set_parameter(driver, "health.black_level", 8).successful
        driver.label_pair()


def test_waits_take_effect_at_once(tiny_bundle: Path) -> None:
    with Rig(tiny_bundle, {"sensor_timeout": 30.0}, loader(ConstantEngine())) as rig:
        driver = rig.driver
        driver.label_pair()
        assert driver.status("depth").message == "OK"
        assert set_parameter(driver, "sensor_timeout", 0.5).successful
        driver.wait_for("loss of both", lambda: driver.status("depth").message.startswith("LOST"))


def test_the_period_of_diagnostics_takes_effect_at_once(tiny_bundle: Path) -> None:
    with Rig(tiny_bundle, {"diagnostics_period": 60.0}, active=False) as rig:
        driver = rig.driver
        assert set_parameter(driver, "diagnostics_period", 0.1).successful
        driver.wait_for("diagnostics", lambda: driver.status("segmentation").message)


def test_qos_overrides_apply_on_every_activation(driver: Driver) -> None:
    def reliability(topic: str, subscription: bool = True) -> ReliabilityPolicy | None:
        node = driver.node
        infos = node.get_subscriptions_info_by_topic if subscription else node.get_publishers_info_by_topic
        found = [info.qos_profile.reliability for info in infos(topic) if info.node_name == "segment_node"]
        return found[0] if found else None

    assert driver.change_state("configure")
    for _ in range(2):
        assert driver.change_state("activate")
        driver.wait_for("overridden input", lambda: reliability(COLOR) == ReliabilityPolicy.RELIABLE)
        driver.wait_for("plain input", lambda: reliability(DEPTH) == ReliabilityPolicy.BEST_EFFORT)
        assert driver.change_state("deactivate")
        driver.wait_for("end of the inputs", lambda: reliability(COLOR) is None)
    assert reliability("/segmentation/mask", subscription=False) == ReliabilityPolicy.BEST_EFFORT
    assert reliability("/segmentation/confidence", subscription=False) == ReliabilityPolicy.RELIABLE


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("sensor_timeout", "-1.0", ""),
        ("num_threads", "many", ""),
        ("engine", "abacus", "expected one of auto, tensorrt"),
        ("image_transport", "theora", "expected one of raw, compressed"),
        ("health.frozen_frames", "1", "expected 0 (off) or at least 2"),
    ],
)
def test_the_process_ends_with_a_line_that_names_the_bad_override(
    tmp_path: Path, name: str, value: str, part: str
) -> None:
    with own_domain() as domain_id, NodeProcess(tmp_path, {name: value}, domain_id) as node:
        assert node.process.wait(60) == 1
        assert "Traceback" not in node.output
        (line,) = [line for line in node.output.splitlines() if line.startswith("segment_node: ")]
        assert name in line
        assert part in line


def test_a_request_of_nonsense_is_refused_and_ends_nothing(tiny_bundle: Path) -> None:
    with Rig(tiny_bundle) as rig:
        odd = ParameterMessage(name="sync_timeout", value=ParameterValue(type=99))
        for kind, name in ((SetParameters, "set_parameters"), (SetParametersAtomically, "set_parameters_atomically")):
            rig.driver.call(kind, name, kind.Request(parameters=[odd]))
            rig.driver.wait_for_line(f"{kind.__name__} refused: 99")
        rig.driver.label_pair()
