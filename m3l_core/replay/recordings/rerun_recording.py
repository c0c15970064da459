"""A run as a recording for the Rerun viewer: what the model saw, what it said, and how the sensors were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from m3l_core.bags.arrivals import Arrival
from m3l_core.bags.frame_sets import RecordedFrame
from m3l_core.errors import require
from m3l_core.files import replacing_file
from m3l_core.frames import Frame
from m3l_core.metrics import subset_key
from m3l_core.overlay import class_legend, write
from m3l_core.replay.recordings.rerun_layout import (
    CAMERA,
    CLASSES,
    CLOCK,
    CONFIDENCE,
    LABELS,
    SERIES,
    STAMP,
    STATE_COLORS,
    STATES,
    TRUTH,
    blueprint,
)
from m3l_core.replay.recordings.ros_messages import encoded_png
from m3l_core.replay.recordings.sinks import Labelled, RunInfo
from m3l_core.streaming.modality_report import ModalityReport

_FLUSH_S = 60.0
_LEGEND_WIDTH = 240


@contextmanager
def rerun_recording(folder: Path, run: RunInfo) -> Iterator[RerunRecording]:
    """Write a run to the file ``folder/NAME.rrd``, in place of a former one.

    Raises:
        MissingPackageError: rerun-sdk is not installed.
        OSError: it cannot be written.
    """
    rerun = require("rerun", "rerun")
    with replacing_file(folder / f"{run.name}.rrd") as temporary:
        stream = rerun.RecordingStream("m3l_replay")
        try:
            with _telling():
                stream.save(temporary)
            stream.set_log_time_enabled(False)
            stream.send_recording_name(f"{run.bag}, {run.scenario}")
            stream.send_blueprint(blueprint(run))
            yield RerunRecording(rerun, stream, run)
            with _telling():
                stream.flush(timeout_sec=_FLUSH_S)  # a disk that is full may keep it waiting
        finally:
            stream.disconnect()


class RerunRecording:
    """A `Sink`."""

    def __init__(self, rerun: ModuleType, stream: Any, run: RunInfo) -> None:
        self._rerun, self._stream, self._run = rerun, stream, run
        self._states: dict[str, str] = {}
        self._encoded: set[str] = set()
        """Modalities that come as jpeg or png."""
        labels = run.described.labels
        classes = [(number, entry.name, entry.color) for number, entry in enumerate(labels.classes)]
        stream.log("/", rerun.AnnotationContext(classes), static=True)
        stream.log(CLASSES, rerun.Image(class_legend(labels, _LEGEND_WIDTH), color_model="RGB"), static=True)
        for name in run.topics:
            colors = rerun.StateConfiguration(
                values=[*STATE_COLORS], colors=np.array([*STATE_COLORS.values()], np.uint32)
            )
            stream.log(f"{STATES}/{name}", colors, static=True)
        for path, name in SERIES.items():
            stream.log(path, rerun.SeriesLines(names=name), static=True)

    def arrived(self, arrival: Arrival, now_ns: int, reports: Mapping[str, ModalityReport]) -> None:
        if arrival.stamp_ns <= 0:
            return  # a stamp that nobody has set would make the timeline begin in 1970
        self._set_time(arrival.stamp_ns, now_ns)
        for name, report in reports.items():
            self._tell_state(name, report.state.value)

    def labelled(self, labelled: Labelled) -> None:
        frame_set, segmentation = labelled.frame_set, labelled.segmentation
        self._set_time(frame_set.reference_frame.stamp_ns, labelled.now_ns)
        for name in self._run.topics:
            frame = frame_set.frames.get(name)
            missing = self._nothing(name, segmentation.labels.shape)
            self._stream.log(f"{CAMERA}/{name}", missing if frame is None else self._picture(name, frame))
        self._stream.log(LABELS, self._rerun.SegmentationImage(segmentation.labels))
        if self._run.has_truth:
            truth = labelled.truth
            nothing = self._rerun.Clear(recursive=False)
            self._stream.log(TRUTH, nothing if truth is None else self._rerun.SegmentationImage(truth))
        self._stream.log(CONFIDENCE, self._rerun.Image(segmentation.confidence, color_model="L"))
        self._tell_state("labels", subset_key(tuple(frame_set.frames)))
        values = (segmentation.confidence.mean() / 255, labelled.wait_ns / 1e6, labelled.inference_ns / 1e6)
        for path, value in zip(SERIES, values, strict=True):
            self._stream.log(path, self._rerun.Scalars(value))

    def _tell_state(self, name: str, state: str) -> None:
        if state != self._states.get(name):
            self._states[name] = state
            self._stream.log(f"{STATES}/{name}", self._rerun.StateChange(state=state))

    def _nothing(self, name: str, shape: tuple[int, ...]) -> Any:
        """The viewer goes on showing what came last: what the model was without must not be seen."""
        if name not in self._encoded:
            return self._rerun.Clear(recursive=False)
        dark = np.zeros((*shape, 3), np.uint8)  # the viewer (0.41) does not clear encoded images
        write(dark, f"no {name}", (8, 20))
        return self._rerun.EncodedImage(contents=encoded_png(dark), media_type="image/png")

    def _picture(self, name: str, frame: Frame) -> Any:
        if frame.data.ndim == 2 and self._run.kinds[name] == "intensity":
            return self._rerun.Image(frame.data, color_model="L")
        if frame.data.ndim == 2:
            return self._rerun.DepthImage(frame.data, meter=1000.0 if frame.data.dtype == np.uint16 else 1.0)
        self._encoded.add(name)
        carried = frame.compressed if isinstance(frame, RecordedFrame) else None
        if carried is None:
            return self._rerun.Image(frame.data, color_model="RGB").compress(jpeg_quality=90)
        content = carried.tobytes()
        kind = "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
        return self._rerun.EncodedImage(contents=content, media_type=kind)

    def _set_time(self, stamp_ns: int, now_ns: int) -> None:
        self._stream.set_time(STAMP, timestamp=np.datetime64(stamp_ns, "ns"))
        self._stream.set_time(CLOCK, timestamp=np.datetime64(now_ns, "ns"))


@contextmanager
def _telling() -> Iterator[None]:
    """The library's error, of whatever cannot be written, as what it is."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(str(error)) from error
