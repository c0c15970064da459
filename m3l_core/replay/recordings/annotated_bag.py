"""A run as a bag of its own (MCAP): what arrived, and what the node would have published, for Foxglove and RViz."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from m3l_core.bags.arrivals import Arrival
from m3l_core.bags.frame_sets import RecordedFrame
from m3l_core.bags.message_types import message_types
from m3l_core.files import replacing_folder
from m3l_core.frames import Frame
from m3l_core.overlay import overlay
from m3l_core.replay.recordings.foxglove_layout import foxglove_layout
from m3l_core.replay.recordings.ros_messages import (
    as_arrived,
    diagnostics,
    header,
    image,
    in_millimetres,
    jpeg,
    label_info,
    png,
    status,
)
from m3l_core.replay.recordings.sinks import Labelled, RunInfo
from m3l_core.streaming.modality_report import ModalityReport, ModalityState
from m3l_core.streaming.modality_values import LEVELS, modality_values

MASK, CONFIDENCE, LABEL_INFO = "/segmentation/mask", "/segmentation/confidence", "/segmentation/label_info"
OVERLAY, COLORS = "/segmentation/overlay/compressed", "/segmentation/mask_color/compressed"
LAYOUT_FILE = "layout.json"
DIAGNOSTICS = "/diagnostics"
_OPACITY, _PERIOD_NS = 0.5, 1_000_000_000  # the node's overlay_opacity and diagnostics_period

_NEVER = QosTime(2147483647, 4294967295)
_LATCHED = Qos(
    history=QosHistory.KEEP_LAST,
    depth=1,
    reliability=QosReliability.RELIABLE,
    durability=QosDurability.TRANSIENT_LOCAL,
    deadline=_NEVER,
    lifespan=_NEVER,
    liveliness=QosLiveliness.AUTOMATIC,
    liveliness_lease_duration=_NEVER,
    avoid_ros_namespace_conventions=False,
)


@contextmanager
def annotated_bag(folder: Path, run: RunInfo) -> Iterator[AnnotatedBag]:
    """Write a run to the bag ``folder/NAME``, in place of a former one.

    Raises:
        OSError: it cannot be written.
    """
    path = folder / run.name
    with replacing_folder(path) as temporary:
        bag = temporary / path.name  # the library makes the folder itself and names its file after it
        writer = Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP)
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with writer:
            annotated = AnnotatedBag(writer, run)
            yield annotated
        layout = json.dumps(annotated.layout(), indent=1)
        (temporary / LAYOUT_FILE).write_text(f"{layout}\n", encoding="utf-8")
        for file in bag.iterdir():
            file.rename(temporary / file.name)
        bag.rmdir()


class AnnotatedBag:
    """A `Sink`; every message is recorded at the moment at which the robot would have got or published it."""

    def __init__(self, writer: Writer, run: RunInfo) -> None:
        self._writer, self._run = writer, run
        self._connections: dict[str, Connection] = {}
        self._states: dict[str, ModalityState] = {}
        self._diagnosed_ns = 0
        self._labelled = 0

    def arrived(self, arrival: Arrival, now_ns: int, reports: Mapping[str, ModalityReport]) -> None:
        if not self._connections:
            self._write(LABEL_INFO, label_info(self._run.described.labels), now_ns, (_LATCHED,))
        self._write(self._run.topics[arrival.modality], as_arrived(arrival), now_ns)
        states = {name: report.state for name, report in reports.items()}
        if states != self._states or now_ns - self._diagnosed_ns >= _PERIOD_NS:
            self._states, self._diagnosed_ns = states, now_ns
            self._write(DIAGNOSTICS, self._diagnose(reports, now_ns), now_ns)

    def labelled(self, labelled: Labelled) -> None:
        self._labelled += 1
        frame_set, segmentation, now_ns = labelled.frame_set, labelled.segmentation, labelled.now_ns
        reference = frame_set.reference_frame
        head = header(reference.stamp_ns, reference.frame_id)
        colors = self._run.described.labels.colorize(segmentation.labels)
        self._write(MASK, image(segmentation.labels, "mono8", head), now_ns)
        self._write(CONFIDENCE, image(segmentation.confidence, "mono8", head), now_ns)
        self._write(
            OVERLAY, jpeg(overlay(reference.data, colors, _OPACITY, self._run.kinds[reference.modality]), head), now_ns
        )
        self._write(COLORS, png(colors, head), now_ns)
        for name, frame in frame_set.frames.items():
            if frame.data.dtype != np.uint8 and not _is_plain(frame):
                pixels = frame.data if frame.data.dtype == np.uint16 else in_millimetres(frame.data)
                self._write(_plain(name), image(pixels, "16UC1", header(frame.stamp_ns, frame.frame_id)), now_ns)

    def layout(self) -> Any:
        """For Foxglove, of what has been written."""
        shown = {
            name: _plain(name) if _plain(name) in self._connections else topic
            for name, topic in self._run.topics.items()
        }
        labels = {"labels": COLORS, "overlay": OVERLAY, "confidence": CONFIDENCE}
        depths = {shown[name] for name, kind in self._run.kinds.items() if kind == "depth" and name in shown}
        return foxglove_layout(shown | labels, depths, [_status_name(name) for name in shown])

    def _diagnose(self, reports: Mapping[str, ModalityReport], now_ns: int) -> Any:
        statuses = [
            status(LEVELS[report.state], _status_name(name), report.state.value, modality_values(report))
            for name, report in reports.items()
        ]
        values = {
            "bundle": self._run.described.name,
            "scenario": self._run.scenario,
            "sets labelled": str(self._labelled),
        }
        return diagnostics([*statuses, status(0, "m3l_replay: segmentation", "labelling", values)], now_ns)

    def _write(self, topic: str, message: Any, now_ns: int, qos: Sequence[Qos] = ()) -> None:
        types, kind = message_types(), message.__msgtype__
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=types, offered_qos_profiles=qos
            )
        self._writer.write(self._connections[topic], now_ns, types.serialize_cdr(message, kind))


def _is_plain(frame: Frame) -> bool:
    """Whether viewers decode it as it was recorded: neither compressed depth nor float32 in metres."""
    return isinstance(frame, RecordedFrame) and getattr(frame.arrival.message, "encoding", "") in ("16UC1", "mono16")


def _plain(name: str) -> str:
    """The topic of a modality's images as 16UC1."""
    return f"/segmentation/{name}"


def _status_name(modality: str) -> str:
    return f"m3l_replay: {modality}"
