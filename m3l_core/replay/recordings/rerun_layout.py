"""How the Rerun viewer shows a run: what lies where in the recording, and its blueprint."""

from __future__ import annotations

from typing import Any

from m3l_core.errors import require
from m3l_core.replay.recordings.sinks import RunInfo
from m3l_core.streaming.modality_report import ModalityState

STAMP, CLOCK = "stamp", "robot_clock"
"""Timelines: the stamps of the messages; when they arrived and when they were labelled."""
CAMERA, LABELS, TRUTH, CONFIDENCE = "camera", "camera/labels", "camera/ground_truth", "confidence"
CLASSES, STATES = "classes", "states"
_PLOTS = {"confidence of a frame, mean": "plots/confidence", "latency [ms]": "plots/latency"}
SERIES = {
    "plots/confidence/mean": "mean confidence",
    "plots/latency/wait": "wait for the other sensor",
    "plots/latency/inference": "inference on this machine",
}
"""What is plotted -> its name."""
STATE_COLORS = {
    ModalityState.OK.value: 0x3AA67CFF,
    ModalityState.STALE.value: 0xE3A21AFF,
    ModalityState.LOST.value: 0xD64545FF,
}
"""RGBA."""


def blueprint(run: RunInfo) -> Any:
    """Pictures side by side, confidence beside the names of the classes, states over time, plots.

    Raises:
        MissingPackageError: rerun-sdk is not installed.
    """
    views = require("rerun.blueprint", "rerun")
    names = {f"{CAMERA}/{name}": name for name in run.topics} | {LABELS: "labels"}
    if run.has_truth:
        names[TRUTH] = "ground truth"
    pictures = [views.Spatial2DView(origin=path, name=name) for path, name in names.items()]
    confidence = views.Spatial2DView(origin=CONFIDENCE, name="confidence")
    classes = views.Spatial2DView(origin=CLASSES, name="classes")
    states = views.StateTimelineView(origin=STATES, name="states of the sensors")
    plots = [views.TimeSeriesView(origin=origin, name=name) for name, origin in _PLOTS.items()]
    return views.Blueprint(
        views.Vertical(
            views.Horizontal(*pictures),
            views.Horizontal(confidence, classes, states, column_shares=[1, 1, 2]),
            views.Horizontal(*plots),
            row_shares=[4, 3, 2],
        ),
        views.TimePanel(timeline=STAMP, state="collapsed"),
        views.BlueprintPanel(state="collapsed"),
        views.SelectionPanel(state="collapsed"),
    )
