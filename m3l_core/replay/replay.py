"""One bag under one scenario: what a robot with an engine without limits would have labelled, when, and how well.

The clock is the bag's, every frame set is labelled the moment it leaves the synchronizer, and nothing depends on the
machine's speed: two replays are equal to the byte.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from m3l_core.bags.arrivals import Arrival, Faults, Stamps, no_faults
from m3l_core.bags.frame_sets import BagFrames, RecordedFrame
from m3l_core.bags.reader import Bag
from m3l_core.errors import DatasetError
from m3l_core.frames import FrameSet
from m3l_core.replay.arrival_log import ArrivalLog, Origin
from m3l_core.replay.label_images import LabelImages, LabelStore
from m3l_core.replay.measures.comparisons import Comparisons, Moment, Yardstick
from m3l_core.replay.measures.measures import Measures, ModalityCounts
from m3l_core.replay.measures.state_timeline import StateTimeline
from m3l_core.replay.measures.timing import DeliveryMeter, Gap
from m3l_core.replay.measures.worst_frames import WorstFrame
from m3l_core.replay.recordings.sinks import Labelled, Sink, sensors
from m3l_core.segmenter import Segmenter
from m3l_core.streaming.modality_report import ModalityReport
from m3l_core.streaming.sensor_health import HealthThresholds
from m3l_core.streaming.sync_config import SyncConfig


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """How the robot is set up."""

    stamps: Stamps = "header"
    sync: SyncConfig = field(default_factory=SyncConfig)
    health: HealthThresholds = field(default_factory=HealthThresholds)
    min_confidence: float = 0.0
    """Labels of less are 255."""


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """One bag under one scenario."""

    bag: str
    scenario: str
    measures: Measures
    start_ns: int
    """When the first message was recorded."""
    end_ns: int
    """When the last message was recorded or arrived, or the last set left."""
    gaps: list[Gap]
    """The longest times without labels, in order."""
    timelines: dict[str, StateTimeline]
    worst: list[WorstFrame]
    worst_by: Yardstick
    """What their scores are."""
    digest: str
    """sha256 of all labels with their stamps."""
    damage: str | None
    """Why the bag could not be read to its end; what is here is what came until then."""


def replay(
    bag: Bag,
    topics: Mapping[str, str],
    segmenter: Segmenter,
    faults: Faults = no_faults,
    settings: ReplaySettings | None = None,
    *,
    scenario: str = "none",
    truth: LabelImages | None = None,
    full: LabelImages | None = None,
    keep: LabelStore | None = None,
    sinks: Sequence[Sink] = (),
    advance: Callable[[], None] = lambda: None,
) -> ReplayResult:
    """Replay a bag, as fast as the machine goes, in memory that does not grow with the bag but for small records.

    Labels are compared at the size of what they are compared with.

    Args:
        bag: an open bag.
        topics: modality -> topic; a modality without one is missing throughout.
        segmenter: labels the frame sets.
        faults: what happens to the messages on their way.
        settings: of the robot.
        scenario: name of the faults, for the result.
        truth: ground truth by stamp.
        full: the labels of the run with all sensors.
        keep: takes the labels of this run, by the stamps of the recording.
        sinks: take what it gives out.
        advance: called after every message of the bag.

    Raises:
        DatasetError: the bag has no message on these topics, or ground truth and color differ in size.
        EngineError: the engine cannot run.
        OSError: ``keep`` or a sink cannot be written.
    """
    run = _Run(bag, topics, segmenter, faults, settings or ReplaySettings(), truth, full, keep, sinks, advance)
    for frame_set in run.frames:
        run.label(frame_set)
    return run.result(scenario)


class _Run:
    def __init__(
        self,
        bag: Bag,
        topics: Mapping[str, str],
        segmenter: Segmenter,
        faults: Faults,
        settings: ReplaySettings,
        truth: LabelImages | None,
        full: LabelImages | None,
        keep: LabelStore | None,
        sinks: Sequence[Sink],
        advance: Callable[[], None],
    ) -> None:
        self._bag, self._topics, self._segmenter, self._settings = bag, topics, segmenter, settings
        segmenter.min_confidence = settings.min_confidence
        self._keep, self._sinks = keep, sinks
        kinds = sensors(segmenter.description, topics)
        self._log = ArrivalLog(settings.stamps, settings.sync, tuple(kinds))
        self.frames = BagFrames(
            bag,
            topics,
            settings.sync,
            settings.health,
            lambda arrivals: faults(self._log.before_faults(arrivals)),
            self._arrived,
            advance,
            kinds,
        )
        self._compared = Comparisons(bag.name, segmenter.description, truth, full)
        self._measures = Measures(self._compared.scores, {name: ModalityCounts() for name in topics})
        self._meter = DeliveryMeter()
        self._timelines: dict[str, StateTimeline] = {}
        self._digest = hashlib.sha256()
        self._last_set_ns = 0

    def label(self, frame_set: FrameSet) -> None:
        """Label a frame set at the moment it leaves the synchronizer."""
        now_ns = self._last_set_ns = self.frames.now_ns
        origin = Origin.of(cast(RecordedFrame, frame_set.reference_frame).arrival)
        self._measures.waits.add(now_ns - origin.arrived_ns)
        for name in frame_set.missing.keys() & self._topics.keys():
            self._measures.modalities[name].missing += 1
        if not frame_set.frames.keys() & set(self._segmenter.description.modality_names):
            self._measures.unlabelled_sets += 1
            return
        began_ns = time.perf_counter_ns()
        segmentation = self._segmenter.segment(frame_set)
        inference_ns = time.perf_counter_ns() - began_ns
        ids = segmentation.labels
        self._meter.add(now_ns)
        self._digest.update(struct.pack("<q2I", frame_set.reference_frame.stamp_ns, *ids.shape))
        self._digest.update(ids.tobytes())
        if self._keep is not None:
            self._keep.add(origin.recorded_stamp_ns, ids)
        truth = self._compared.add(
            frame_set,
            ids,
            Moment(
                now_ns - self._log.start_ns,
                origin.recorded_stamp_ns,
                label_distance_ns(self.frames.synchronizer.report()[frame_set.reference], self._settings.sync),
                origin.edited,
            ),
        )
        for sink in self._sinks:
            sink.labelled(Labelled(frame_set, segmentation, now_ns, now_ns - origin.arrived_ns, inference_ns, truth))

    def result(self, scenario: str) -> ReplayResult:
        """To be called once there are no more frame sets."""
        log, measures, synchronizer = self._log, self._measures, self.frames.synchronizer
        if not log.recorded:
            raise DatasetError(log.damage or no_message(self._bag, self._topics))
        end_ns = max(log.end_ns, self._last_set_ns)
        measures.delivery, gaps = self._meter.finish(log.start_ns, end_ns)
        if len(self._topics) > 1:
            measures.stock = log.stock_delivery(end_ns)
        measures.complete_sets, measures.partial_sets = synchronizer.complete_sets, synchronizer.partial_sets
        measures.resets = synchronizer.resets
        reports, now_ns = synchronizer.report(), self.frames.now_ns
        timelines = self._timelines or self._begin_timelines()
        for name, counts in measures.modalities.items():
            counts.recorded, counts.arrived = self.frames.recorded[name], log.arrived[name]
            counts.in_complete_sets = reports[name].in_complete_sets
            counts.in_partial_sets = reports[name].in_partial_sets
            counts.dropped.update({why: n for (modality, why), n in self.frames.dropped.items() if modality == name})
            timelines[name].finish(reports[name], now_ns, end_ns)
            counts.states_ns = timelines[name].lengths_ns
        return ReplayResult(
            self._bag.name,
            scenario,
            measures,
            log.start_ns,
            end_ns,
            gaps,
            timelines,
            self._compared.worst.frames,
            self._compared.worst_by,
            self._digest.hexdigest(),
            log.damage,
        )

    def _arrived(self, arrival: Arrival) -> None:
        now_ns = self.frames.now_ns
        self._log.behind_faults(arrival, now_ns)
        self._timelines = self._timelines or self._begin_timelines()
        reports = self.frames.synchronizer.report()
        for name, timeline in self._timelines.items():
            timeline.observe(reports[name], now_ns)
        for sink in self._sinks:
            sink.arrived(arrival, now_ns, reports)

    def _begin_timelines(self) -> dict[str, StateTimeline]:
        return {name: StateTimeline(self._log.start_ns) for name in self._topics}


def label_distance_ns(reference: ModalityReport, config: SyncConfig) -> int:
    """How far a label may be from a reference frame: so that it belongs to this one and to no other."""
    longest_ns, period_ns = config.approx_sync_max_interval_ns, reference.period_ns
    return longest_ns if period_ns is None else min(longest_ns, period_ns // 2)


def no_message(bag: Bag, topics: Mapping[str, str]) -> str:
    """Why there is nothing to replay."""
    return f"bag {bag.path} has no message on {', '.join(topics.values())} that can be read"
