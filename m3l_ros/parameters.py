"""The node's parameters: names, types, ranges, and what they become. config/segment.yaml describes each.

Which sensors there are is known once a bundle is: the parameters of those besides color and depth are declared when the
node is configured, and then take what it was started with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from m3l_core.engines.engine import ENGINES, PRECISIONS
from m3l_core.modalities import ColorModality, DepthModality, Modality
from m3l_core.streaming.sensor_health import HealthThresholds
from m3l_core.streaming.sync_config import SyncConfig
from m3l_ros.output_settings import OutputSettings, output_size_problem, unknown_classes
from m3l_ros.sensor_inputs import TRANSPORTS, may_be_of_a_sensor, offset_parameter, transport_parameter


class Scope(Enum):
    """When a new value takes effect, and so in which states of the node it is taken at all."""

    AT_ONCE = "takes effect at once"
    SESSION = "structural: deactivate first"
    START = "structural: set it when the node starts"


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One parameter; its type is that of its default."""

    default: Any
    description: str
    between: tuple[float, float] | None = None
    step: int = 0
    """Of an integer that may only be ``between``'s first and so many more each time."""
    choices: tuple[str, ...] = ()
    scope: Scope = Scope.AT_ONCE

    @property
    def read_only(self) -> bool:
        return self.scope is Scope.START

    def descriptor(self) -> ParameterDescriptor:
        description = f"{self.description}; {self.scope.value}"
        descriptor = ParameterDescriptor(description=description, read_only=self.read_only)
        if self.choices:
            descriptor.additional_constraints = "one of: " + ", ".join(self.choices)
        if self.between is not None:
            low, high = self.between
            if isinstance(self.default, int):
                descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=self.step)]
            else:
                descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
        return descriptor


def sensor_parameters(modality: Modality) -> dict[str, ParameterSpec]:
    """Those of one sensor."""
    name = modality.name
    transports = TRANSPORTS[modality.kind]
    return {
        transport_parameter(name): ParameterSpec(
            "raw", f"Transport of {name}", choices=transports, scope=Scope.SESSION
        ),
        offset_parameter(name): ParameterSpec(
            0.0, f"Added to {name}'s stamps [s]", (-3600.0, 3600.0), scope=Scope.SESSION
        ),
    }


PARAMETERS: dict[str, ParameterSpec] = {
    "bundle": ParameterSpec("", "Folder of a model bundle; empty: the shipped one", scope=Scope.START),
    "engine": ParameterSpec("auto", "Inference engine", choices=("auto", *ENGINES), scope=Scope.START),
    "precision": ParameterSpec("auto", "Arithmetic of the engine", choices=("auto", *PRECISIONS), scope=Scope.START),
    "num_threads": ParameterSpec(0, "CPU threads of the engine; 0: its own choice", (0, 256), scope=Scope.START),
    **sensor_parameters(ColorModality()),
    **sensor_parameters(DepthModality()),
    "subscription_queue_size": ParameterSpec(5, "Depth of the subscriptions' queues", (1, 100), scope=Scope.SESSION),
    "sync_queue_size": ParameterSpec(50, "Frames of each sensor that may wait", (1, 1000), scope=Scope.SESSION),
    "approx_sync_max_interval": ParameterSpec(0.02, "Largest distance of two stamps in a set [s]", (0.0, 10.0)),
    "sync_timeout": ParameterSpec(0.05, "Longest wait of an image for its partner [s]", (0.001, 10.0)),
    "sensor_timeout": ParameterSpec(0.5, "A sensor silent so long, and three periods, is LOST [s]", (0.01, 60.0)),
    "reuse_interval": ParameterSpec(0.0, "How far a used frame may serve again [s]; 0: once", (0.0, 10.0)),
    "reset_interval": ParameterSpec(1.0, "Stamps that jump back by more start over [s]", (0.01, 3600.0)),
    "health.min_valid_depth": ParameterSpec(0.05, "Least share of valid depth pixels; 0: off", (0.0, 1.0)),
    "health.black_level": ParameterSpec(8, "Color is black at or below this; -1: off", (-1, 254)),
    "health.saturated_share": ParameterSpec(0.95, "Share of saturated pixels that blinds; 0: off", (0.0, 1.0)),
    "health.frozen_frames": ParameterSpec(30, "Equal images in a row that are a frozen sensor; 0: off", (0, 100000)),
    "health.max_megapixels": ParameterSpec(64, "A compressed image of more is not decoded", (1, 4096)),
    "health.size_change_frames": ParameterSpec(10, "Images in a row that establish a new size; 0: off", (0, 100000)),
    "output_size": ParameterSpec("reference", "Size of the outputs: reference, network, or WIDTHxHEIGHT"),
    "min_confidence": ParameterSpec(0.0, "Labels of less confidence are unlabelled", (0.0, 1.0)),
    "unlabelled_value": ParameterSpec(
        255, "Id of no label: 255, or 0 with all others one up", (0, 255), step=255, scope=Scope.SESSION
    ),
    "classes_of_interest": ParameterSpec([""], "Names of the classes that are 255 on segmentation/mask_of_interest"),
    "diagnostics_period": ParameterSpec(1.0, "Period of /diagnostics [s]", (0.1, 60.0)),
    "overlay_opacity": ParameterSpec(0.5, "Opacity of the labels on segmentation/overlay", (0.0, 1.0)),
    "bond_heartbeat_period": ParameterSpec(
        0.25, "Heartbeats for nav2_lifecycle_manager [s]; 0: none", (0.0, 2.0), scope=Scope.SESSION
    ),
    "autostart": ParameterSpec(False, "Configure and activate without being told to", scope=Scope.START),
}


class NodeParameters:
    """Declares the parameters of a node; a bad value, or one that would do nothing, is refused with the reason.

    Args:
        labels: whether the node does so at present, and structural values are settled.

    Raises:
        rclpy.exceptions.InvalidParameterValueException: an override is out of range, of another type, or not one
            of the choices.
    """

    def __init__(self, node: Node, labels: Callable[[], bool]) -> None:
        self._node = node
        self.class_names: tuple[str, ...] = ()
        """Of the node's bundle, which ``classes_of_interest`` is checked against; nothing before it has one."""
        self._specs = dict(PARAMETERS)
        node.add_on_set_parameters_callback(lambda parameters: self._check(parameters, labels()))
        for name, spec in PARAMETERS.items():
            if (
                node.declare_parameter(name, spec.default, spec.descriptor()).value is None
            ):  # of an empty list in a file
                node.set_parameters([Parameter(name, value=spec.default)])

    def declare_sensors(self, modalities: Sequence[Modality]) -> None:
        """Let there be the parameters of these sensors, and none of others but color and depth.

        Raises:
            rclpy.exceptions.InvalidParameterValueException: as when the others were declared.
        """
        wanted = {name: spec for each in modalities for name, spec in sensor_parameters(each).items()}
        for name in self._specs.keys() - PARAMETERS.keys() - wanted.keys():
            self._node.undeclare_parameter(name)
            del self._specs[name]
        for name in wanted.keys() - self._specs.keys():
            self._specs[name] = wanted[name]
            try:
                self._node.declare_parameter(name, wanted[name].default, wanted[name].descriptor())
            except Exception:
                del self._specs[name]
                raise

    def unknown(self, configured: bool) -> list[str]:
        """A line for each value that the node was started with and has no parameter for.

        Args:
            configured: whether it is clear which sensors there are; before that, only what no sensor can have is told,
                then the rest.
        """
        lines = []
        for name in sorted(set(self._node._parameter_overrides) - set(self._node._parameters)):
            # Quality of service is declared with each topic.
            if not name.startswith("qos_overrides.") and may_be_of_a_sensor(name) == configured:
                near = get_close_matches(name, self._specs, 1, 0.0)[0]
                lines.append(f"there is no parameter '{name}', so its value has no effect; the nearest is '{near}'")
        return lines

    def _check(self, parameters: list[Parameter], labels: bool) -> SetParametersResult:
        for parameter in parameters:
            name, value = parameter.name, parameter.value
            reason = _refusal(self._specs.get(name), name, value, labels)
            if not reason and name == "classes_of_interest" and self.class_names:
                reason = unknown_classes(value, self.class_names)
            if reason:
                return SetParametersResult(successful=False, reason=f"{name}: {reason}")
        return SetParametersResult(successful=True)


def _refusal(spec: ParameterSpec | None, name: str, value: Any, labels: bool) -> str:
    """Why a value is not taken; empty if it is."""
    if spec is None:  # rclpy's own; the synchronizer keeps the clock that it began with
        return Scope.SESSION.value if labels and name == "use_sim_time" else ""
    if spec.choices and value not in spec.choices:
        return f"expected one of {', '.join(spec.choices)}, got '{value}'"
    if name == "health.frozen_frames" and value == 1:
        return "expected 0 (off) or at least 2"
    if name == "output_size":
        return output_size_problem(value)
    return spec.scope.value if labels and spec.scope is Scope.SESSION else ""


def value(node: Node, name: str) -> Any:
    """The current value of a parameter."""
    return node.get_parameter(name).value


def sync_config(node: Node, modalities: Sequence[str]) -> SyncConfig:
    """What the parameters say to the synchronizer."""

    def nanoseconds(name: str) -> int:
        return round(value(node, name) * 1e9)

    return SyncConfig(
        approx_sync_max_interval_ns=nanoseconds("approx_sync_max_interval"),
        sync_timeout_ns=nanoseconds("sync_timeout"),
        sensor_timeout_ns=nanoseconds("sensor_timeout"),
        reuse_interval_ns=nanoseconds("reuse_interval"),
        reset_interval_ns=nanoseconds("reset_interval"),
        queue_size=value(node, "sync_queue_size"),
        stamp_offsets_ns={name: nanoseconds(offset_parameter(name)) for name in modalities},
    )


def health_thresholds(node: Node) -> HealthThresholds:
    """What the parameters say to the health checks."""
    names = (name for name in PARAMETERS if name.startswith("health."))
    return HealthThresholds(**{name.removeprefix("health."): value(node, name) for name in names})


def output_settings(node: Node) -> OutputSettings:
    """What the parameters say of the outputs."""
    return OutputSettings(
        output_size=value(node, "output_size"),
        min_confidence=value(node, "min_confidence"),
        unlabelled_value=value(node, "unlabelled_value"),
        classes_of_interest=tuple(value(node, "classes_of_interest")),
        overlay_opacity=value(node, "overlay_opacity"),
    )
