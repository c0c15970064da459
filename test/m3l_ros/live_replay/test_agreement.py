"""Unequal labels are told apart: of other images, or wrong."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from support.bags import MS, SIZE, START_NS, image, millimetres, rgb
from support.replays import InstantSegmenter

from m3l_core.bags.arrivals import Arrival
from m3l_core.frames import FrameSet
from m3l_core.replay.measures.measures import LiveMeasures
from m3l_core.streaming.frame_decoding import decode_frame
from m3l_core.streaming.sync_config import SyncConfig
from m3l_ros.live_replay.agreement import Agreement

SEGMENTER = InstantSegmenter()()


def color(seed: int, stamp_ns: int = START_NS, time_ns: int = START_NS) -> Arrival:
    return Arrival(time_ns, "color", image(rgb(seed), "rgb8", stamp_ns), stamp_ns)


def depth(seed: int, stamp_ns: int = START_NS, time_ns: int = START_NS) -> Arrival:
    return Arrival(time_ns, "depth", image(millimetres(seed), "16UC1", stamp_ns), stamp_ns)


def set_of(*arrivals: Arrival) -> FrameSet:
    frames = [decode_frame(arrival.modality, arrival.message)[0] for arrival in arrivals]
    return FrameSet(frames[0].modality, {frame.modality: frame for frame in frames})


def labels(*arrivals: Arrival) -> NDArray[np.uint8]:
    return SEGMENTER.segment(set_of(*arrivals)).labels


def compared(arrivals: list[Arrival], offline: FrameSet, live: NDArray[np.uint8], num_before: int = 2) -> LiveMeasures:
    """One frame set that left after the first arrivals."""
    counts = LiveMeasures()
    agreement = Agreement(SEGMENTER, SyncConfig(), counts)
    for number, arrival in enumerate(arrivals):
        agreement.arrived(arrival)
        if number + 1 == num_before:
            agreement.compare(offline, live, SEGMENTER.segment(offline).labels, arrival.time_ns)
    agreement.finish()
    return counts


def test_equal_labels_agree() -> None:
    pair = [color(1), depth(1)]
    counts = compared(pair, set_of(*pair), labels(*pair))
    assert (counts.compared, counts.equal, counts.other_images) == (1, 1, 0)
    assert counts.equal_share == 1


def test_labels_of_a_sensor_less_are_of_other_images() -> None:
    pair = [color(1), depth(1)]
    counts = compared(pair, set_of(*pair), labels(pair[1]))
    assert (counts.compared, counts.equal, counts.other_images) == (1, 0, 1)
    assert counts.equal_share is None


def test_labels_with_an_image_that_came_later_are_of_other_images() -> None:
    arrivals = [
        depth(1),
        depth(2, START_NS + 100 * MS),
        color(3, time_ns=START_NS + 900 * MS),
        depth(4, time_ns=START_NS),
    ]
    counts = compared(arrivals, set_of(arrivals[0]), labels(arrivals[2]))
    assert (counts.equal, counts.other_images) == (0, 1)


@pytest.mark.parametrize(
    "other",
    [
        color(7, START_NS + 21 * MS),
        color(7, time_ns=START_NS + 2000 * MS),
        Arrival(START_NS, "color", image(rgb(7), "16UC1", START_NS), START_NS),
    ],
    ids=["another stamp", "much later", "unreadable"],
)
def test_labels_of_none_of_the_images_are_wrong(other: Arrival) -> None:
    pair = [color(1), depth(1)]
    end = depth(9, START_NS + 5000 * MS, START_NS + 5000 * MS)
    counts = compared([*pair, other, end], set_of(*pair), labels(color(7)))
    assert (counts.compared, counts.equal, counts.other_images) == (1, 0, 0)
    assert counts.equal_share == 0


def test_labels_of_another_size_are_wrong() -> None:
    pair = [color(1), depth(1)]
    counts = compared(pair, set_of(*pair), np.zeros((SIZE[0] + 1, SIZE[1]), np.uint8))
    assert (counts.equal, counts.other_images) == (0, 0)
