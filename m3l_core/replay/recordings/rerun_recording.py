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
from m3l_core.frames import Frame, FrameSet, Segmentation
from m3l_core.replay.recordings.sinks import RunInfo
from m3l_core.streaming.modality_report import ModalityReport, ModalityState

STAMP, CLOCK = "stamp", "robot_clock"
"""Timelines: the stamps of the messages; when they arrived and when they were labelled."""
_FLUSH_S = 60.0
_LEVELS = {ModalityState.OK: "INFO", ModalityState.STALE: "WARN", ModalityState.LOST: "ERROR"}


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
            yield RerunRecording(rerun, stream, run)
            with _telling():
                stream.flush(timeout_sec=_FLUSH_S)  # a disk that is full may keep it waiting
        finally:
            stream.disconnect()


class RerunRecording:
    """A `Sink`."""

    def __init__(self, rerun: ModuleType, stream: Any, run: RunInfo) -> None:
        self._rerun, self._stream, self._run = rerun, stream, run
        self._states: dict[str, ModalityState] = {}
        classes = [(number, entry.name, entry.color) for number, entry in enumerate(run.described.labels.classes)]
        stream.log("/", rerun.AnnotationContext(classes), static=True)

    def arrived(self, arrival: Arrival, now_ns: int, reports: Mapping[str, ModalityReport]) -> None:
        if arrival.stamp_ns <= 0:
            return  # a stamp that nobody has set would make the timeline begin in 1970
        self._set_time(arrival.stamp_ns, now_ns)
        for name, report in reports.items():
            if report.state is not self._states.get(name):
                self._states[name] = report.state
                text = f"{name} is {report.state.value}"
                self._stream.log(f"states/{name}", self._rerun.TextLog(text, level=_LEVELS[report.state]))

    def labelled(self, frame_set: FrameSet, segmentation: Segmentation, now_ns: int) -> None:
        self._set_time(frame_set.reference_frame.stamp_ns, now_ns)
        for name in self._run.topics:
            frame = frame_set.frames.get(name)
            # The viewer goes on showing what came last: what the model was without must not be seen.
            picture = self._rerun.Clear(recursive=False) if frame is None else self._picture(frame)
            self._stream.log(f"camera/{name}", picture)
        self._stream.log("camera/labels", self._rerun.SegmentationImage(segmentation.labels))
        self._stream.log("confidence", self._rerun.Image(segmentation.confidence, color_model="L"))

    def _picture(self, frame: Frame) -> Any:
        if frame.data.ndim == 2:
            return self._rerun.DepthImage(frame.data, meter=1000.0 if frame.data.dtype == np.uint16 else 1.0)
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
