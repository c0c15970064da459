"""The node that a live replay plays into: one that is started for it, or one that runs already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python
from sensor_msgs.msg import CompressedImage, Image

from m3l_core.bags.reader import Bag
from m3l_core.bags.topics import IMAGE
from m3l_core.errors import M3LError
from m3l_core.replay.bags import EngineChoice
from m3l_core.replay.replay import ReplaySettings
from m3l_core.segmenter import Segmenter
from m3l_ros.node_client import NodeClient, NodeStatus, node_client
from m3l_ros.node_process import running_node
from m3l_ros.sensor_inputs import input_topic, transport_parameter

NAME = "segment_node"
_PATIENCE_S = 15.0
_ENGINE_PATIENCE_S = 300.0


class NodeInputs(NamedTuple):
    """Where the images of a bag go."""

    topics: dict[str, str]
    """Modality -> topic of the node."""
    kinds: dict[str, type]
    """Topic -> message type."""
    transports: dict[str, str]
    """Parameters of a node that subscribes to these topics."""


def own_inputs(bag: Bag, topics: Mapping[str, str]) -> NodeInputs:
    """Those of a node that is started for the bag: its topics are its own, whatever the recorded ones are called."""
    inputs = NodeInputs({}, {}, {})
    for modality, recorded in topics.items():
        raw = bag.topics[recorded].msgtype == IMAGE
        transport = "raw" if raw else ("compressedDepth" if modality == "depth" else "compressed")
        topic = f"/{input_topic(modality)}" + ("" if raw else f"/{transport}")
        inputs.topics[modality] = topic
        inputs.kinds[topic] = Image if raw else CompressedImage
        inputs.transports[transport_parameter(modality)] = transport
    return inputs


def recorded_inputs(bag: Bag, topics: Mapping[str, str]) -> NodeInputs:
    """Those of a node that has been set up for the robot of the recording."""
    kinds = {topic: Image if bag.topics[topic].msgtype == IMAGE else CompressedImage for topic in topics.values()}
    return NodeInputs(dict(topics), kinds, {})


def settings_parameters(settings: ReplaySettings) -> dict[str, Any]:
    """The node's parameters that do what these settings say."""
    sync = settings.sync
    seconds = {
        "approx_sync_max_interval": sync.approx_sync_max_interval_ns,
        "sync_timeout": sync.sync_timeout_ns,
        "sensor_timeout": sync.sensor_timeout_ns,
        "reuse_interval": sync.reuse_interval_ns,
        "reset_interval": sync.reset_interval_ns,
    } | {f"stamp_offset.{name}": offset_ns for name, offset_ns in sync.stamp_offsets_ns.items()}
    return {
        **{name: value_ns / 1e9 for name, value_ns in seconds.items()},
        "sync_queue_size": sync.queue_size,
        "min_confidence": settings.min_confidence,
        "output_size": "reference",
        "unlabelled_value": 255,
        **{f"health.{name}": value for name, value in asdict(settings.health).items()},
    }


class StartedNode:
    """A node of one's own: it is active only during a run, so that it begins each as a replay offline does."""

    def __init__(self, client: NodeClient) -> None:
        self._client = client
        self._change_state("configure", _ENGINE_PATIENCE_S)

    def begin(self) -> Mapping[str, NodeStatus]:
        """Let it label; returns its accounts until now.

        Raises:
            M3LError: it cannot, or has died.
        """
        _check_alone(self._client)
        self._change_state("activate")
        # From here on it counts the time until its sensors are LOST, so the first message must follow at once.
        if not self._client.wait_until(self._client.is_heard, _PATIENCE_S):
            raise M3LError(f"the node has not subscribed within {_PATIENCE_S:.0f} s")
        return {}

    def end(self) -> None:
        """Let it forget the run."""
        client = self._client
        self._change_state("deactivate")
        # What comes after this is not about the run that has ended, and reaches only who subscribes to the next.
        client.wait_until(lambda: not client.state.is_labelling and client.is_unheard(), _PATIENCE_S)

    def _change_state(self, label: str, timeout_s: float = _PATIENCE_S) -> None:
        client = self._client
        request = ChangeState.Request()
        request.transition.label = label
        if not client.call(ChangeState, f"/{NAME}/change_state", request, timeout_s).success:
            client.wait_until(
                lambda: client.state.message not in ("", "inactive") and not client.state.is_labelling, 2.0
            )
            raise M3LError(f"the node cannot {label}: {client.state.message or 'it does not say why'}")


class AttachedNode:
    """A node that somebody else has started and that goes on afterwards.

    Raises:
        M3LError: there is none, it does not label, it labels otherwise than the replay offline would, or does not
            subscribe to the topics.
    """

    def __init__(
        self, client: NodeClient, segmenter: Segmenter, parameters: Mapping[str, Any], kinds: Mapping[str, type]
    ) -> None:
        self._client = client
        if not client.wait_until(lambda: client.state.message, _PATIENCE_S):
            raise M3LError(
                f"no {NAME} is heard in this ROS domain: start it, for example with: ros2 launch m3l_ros "
                "segment.launch.py; or leave out --attach, and one is started for the replay"
            )
        if not client.state.is_labelling:
            raise M3LError(f"expected a {NAME} that labels, it says: {client.state.message}. Activate it")
        self._check_same(segmenter, parameters)
        if not client.wait_until(client.is_heard, _PATIENCE_S):
            raise M3LError(
                f"nobody subscribes to all of {', '.join(kinds)}, under which the bag was recorded: remap the inputs "
                f"of {NAME}, and set its transports; or leave out --attach"
            )

    def begin(self) -> Mapping[str, NodeStatus]:
        _check_alone(self._client)
        return self._client.statuses

    def end(self) -> None:
        """Nothing: it is not ours."""

    def _check_same(self, segmenter: Segmenter, parameters: Mapping[str, Any]) -> None:
        wanted = {
            "bundle": segmenter.description.name,
            "engine": segmenter.engine.name,
            "precision": segmenter.engine.precision,
        }
        found: dict[str, Any] = {name: self._client.state.values.get(name) for name in wanted}
        request = GetParameters.Request(names=list(parameters))
        answer = self._client.call(GetParameters, f"/{NAME}/get_parameters", request, _PATIENCE_S)
        found |= zip(parameters, map(parameter_value_to_python, answer.values), strict=True)
        wanted |= parameters
        if other := [f"{name} {found[name]}, not {value}" for name, value in wanted.items() if found[name] != value]:
            raise M3LError(f"the {NAME} there has {'; '.join(other)}: give it and the replay the same")


def _check_alone(client: NodeClient) -> None:
    # Who has just left may still be seen for a moment.
    if not client.wait_until(lambda: not client.rivals(), 2.0):
        raise M3LError(
            f"others publish to {', '.join(client.rivals())} in this ROS domain: stop the cameras or players there, "
            "or name another --domain"
        )


LiveNode = StartedNode | AttachedNode


@contextmanager
def started_node(
    engine: EngineChoice, settings: ReplaySettings, inputs: NodeInputs, domain_id: int, log: Path
) -> Iterator[tuple[NodeClient, LiveNode]]:
    """A node in a process of its own, with the engine and the settings of the replay.

    Raises:
        M3LError: it cannot be started.
    """
    parameters = {
        "bundle": str(engine.bundle.resolve()),
        "engine": engine.engine,
        "precision": engine.precision,
        "num_threads": engine.num_threads,
        "diagnostics_period": 0.1,
        **inputs.transports,
        **settings_parameters(settings),
    }
    texts = {name: str(value) for name, value in parameters.items()}
    with (
        running_node(texts, domain_id, log) as check,
        node_client("m3l_replay", domain_id, inputs.kinds, check) as client,
    ):
        yield client, StartedNode(client)


@contextmanager
def attached_node(
    engine: EngineChoice, settings: ReplaySettings, inputs: NodeInputs, domain_id: int, segmenter: Segmenter
) -> Iterator[tuple[NodeClient, LiveNode]]:
    """The node that runs in a domain.

    Raises:
        M3LError: as `AttachedNode`.
    """
    parameters = {"num_threads": engine.num_threads, **settings_parameters(settings)}
    with node_client("m3l_replay", domain_id, inputs.kinds) as client:
        yield client, AttachedNode(client, segmenter, parameters, inputs.kinds)
