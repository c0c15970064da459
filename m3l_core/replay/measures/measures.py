"""What is measured in a replay: sums, so that those of several bags can be merged exactly."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from m3l_core.replay.measures.label_scores import LabelScores
from m3l_core.replay.measures.timing import Delivery, DurationHistogram
from m3l_core.streaming.modality_report import ModalityState


@dataclass
class ModalityCounts:
    """What became of the messages of one modality."""

    recorded: int = 0
    arrived: int = 0
    """Behind the faults."""
    in_complete_sets: int = 0
    in_partial_sets: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Why -> messages that are in no frame set."""
    missing: int = 0
    """Frame sets that lack it."""
    states_ns: Counter[ModalityState] = field(default_factory=Counter)
    """Time in each state."""

    def merge(self, other: ModalityCounts) -> None:
        self.recorded += other.recorded
        self.arrived += other.arrived
        self.in_complete_sets += other.in_complete_sets
        self.in_partial_sets += other.in_partial_sets
        self.dropped.update(other.dropped)
        self.missing += other.missing
        self.states_ns.update(other.states_ns)


@dataclass
class LiveMeasures:
    """What only a replay through the running node has."""

    latency: DurationHistogram = field(default_factory=DurationHistogram)
    """From the publishing of the image whose stamp the labels bear (of color, if both do) to the labels' arrival."""
    replaced_sets: int = 0
    """Frame sets that newer ones replaced while the engine was busy."""
    compared: int = 0
    """Frames labelled by the node and offline."""
    equal: int = 0
    """Those with labels that are equal to the byte."""
    other_images: int = 0
    """Those with labels that are equal to what other images near that stamp give: the node's frame set was another."""
    longest_lag_ns: int = 0
    """How late a message was published at most: by more than a moment where this machine is too slow to play."""

    @property
    def equal_share(self) -> float | None:
        """Of the frames labelled from the same images."""
        same_images = self.compared - self.other_images
        return self.equal / same_images if same_images else None

    def merge(self, other: LiveMeasures) -> None:
        self.latency.merge(other.latency)
        self.replaced_sets += other.replaced_sets
        self.compared += other.compared
        self.equal += other.equal
        self.other_images += other.other_images
        self.longest_lag_ns = max(self.longest_lag_ns, other.longest_lag_ns)


@dataclass
class Measures:
    """Of one run or of several."""

    scores: LabelScores
    modalities: dict[str, ModalityCounts]
    delivery: Delivery = field(default_factory=Delivery)
    """Of labels, by when their frame sets leave the synchronizer; of a live run by when the labels arrive."""
    stock: Delivery | None = None
    """Of the sets of a stock ApproximateTimeSynchronizer; None where there is but one topic to synchronize."""
    waits: DurationHistogram = field(default_factory=DurationHistogram)
    """From the arrival of a set's reference frame to the set leaving the synchronizer; none in a live run."""
    complete_sets: int = 0
    partial_sets: int = 0
    unlabelled_sets: int = 0
    """Those without any modality of the bundle."""
    resets: int = 0
    """How often the synchronizer began anew."""
    live: LiveMeasures | None = None

    @property
    def complete_share(self) -> float | None:
        sets = self.complete_sets + self.partial_sets
        return self.complete_sets / sets if sets else None

    def merge(self, other: Measures) -> None:
        self.scores.merge(other.scores)
        for name, counts in other.modalities.items():
            self.modalities.setdefault(name, ModalityCounts()).merge(counts)
        self.delivery.merge(other.delivery)
        if other.stock is not None:
            self.stock = self.stock or Delivery()
            self.stock.merge(other.stock)
        self.waits.merge(other.waits)
        self.complete_sets += other.complete_sets
        self.partial_sets += other.partial_sets
        self.unlabelled_sets += other.unlabelled_sets
        self.resets += other.resets
        if other.live is not None:
            self.live = self.live or LiveMeasures()
            self.live.merge(other.live)


def merged(parts: list[Measures], num_classes: int) -> Measures:
    """The sum of several runs; they stay as they are."""
    total = Measures(LabelScores(num_classes), {})
    for part in parts:
        total.merge(part)
    return total
