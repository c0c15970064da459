"""One bag under one scenario: small cases whose figures are counted by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from support.bags import (
    COLOR,
    DEPTH,
    MS,
    PERIOD_NS,
    SIZE,
    START_NS,
    Recorded,
    break_chunk,
    frames,
    image,
    millimetres,
    rgb,
    stamps,
    write_bag,
)
from support.replays import InstantSegmenter, without

from m3l_core.bags.arrivals import Arrival, Faults
from m3l_core.bags.reader import open_bag
from m3l_core.errors import DatasetError
from m3l_core.frames import Frame, FrameSet
from m3l_core.modalities import ColorModality
from m3l_core.replay.faults.scenario import Scenario
from m3l_core.replay.label_images import LabelStore
from m3l_core.replay.measures.measures import merged
from m3l_core.replay.measures.timing import Delivery, Gap
from m3l_core.replay.replay import ReplayResult, ReplaySettings, replay
from m3l_core.segmenter import Segmenter
from m3l_core.streaming.modality_report import ModalityState
from m3l_core.streaming.sync_config import SyncConfig

TOPICS = {"color": COLOR, "depth": DEPTH}
NO_COLOR: dict[str, Any] = {"kind": "gone", "modality": "color"}
COUNT = 10
SPAN_NS = 9 * PERIOD_NS + 2 * MS
"""From the first color to the last depth: color arrives 3 ms after its stamp, depth 5 ms."""
BRIGHT, CONSTANT = InstantSegmenter()(), InstantSegmenter(constant=True)()


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp("bags") / "kitchen", frames(COUNT))


def run(bag: Path, segmenter: Segmenter = BRIGHT, topics: dict[str, str] = TOPICS, **options: Any) -> ReplayResult:
    with open_bag(bag) as opened:
        return replay(opened, topics, segmenter, **options)


def truth_of(images: dict[int, np.ndarray]) -> LabelStore:
    store = LabelStore()
    for stamp, ids in images.items():
        store.add(stamp, ids)
    return store


def wait_ms(result: ReplayResult) -> dict[int, int]:
    return {step // 10: count for step, count in sorted(result.measures.waits.counts.items())}


def test_with_both_sensors_every_instant_is_labelled_as_its_last_message_arrives(bag: Path) -> None:
    result = run(bag)
    measures = result.measures
    assert (result.start_ns, result.end_ns - result.start_ns) == (START_NS + 3 * MS, SPAN_NS)
    assert measures.delivery == measures.stock == Delivery(COUNT, COUNT - 1, SPAN_NS, PERIOD_NS)
    assert (measures.complete_sets, measures.partial_sets, measures.complete_share) == (COUNT, 0, 1)
    assert wait_ms(result) == {2: COUNT}
    assert result.gaps == []
    for counts in measures.modalities.values():
        assert (counts.recorded, counts.arrived, counts.in_complete_sets) == (COUNT, COUNT, COUNT)
        assert (counts.in_partial_sets, counts.missing, dict(counts.dropped)) == (0, 0, {})
    assert [(since - result.start_ns) // MS for since, _ in result.timelines["depth"].changes] == [0, 2]
    assert result.damage is None


def test_without_color_the_first_labels_wait_until_it_is_given_up(bag: Path) -> None:
    result = run(bag, faults=without("color"))
    # The first depth frame arrives at 5 ms, color is LOST at 505 ms: five frames have waited for that.
    assert wait_ms(result) == {0: 5, 100: 1, 200: 1, 300: 1, 400: 1, 500: 1}
    assert result.measures.delivery == Delivery(COUNT, COUNT - 1, SPAN_NS, 502 * MS)
    assert result.gaps[0] == Gap(result.start_ns, result.start_ns + 502 * MS)
    assert result.measures.stock == Delivery(0, 0, SPAN_NS, SPAN_NS)
    assert (result.measures.complete_sets, result.measures.partial_sets) == (0, COUNT)
    color, depth = result.measures.modalities["color"], result.measures.modalities["depth"]
    assert (color.recorded, color.arrived, color.missing) == (COUNT, 0, COUNT)
    assert (depth.in_partial_sets, depth.missing) == (COUNT, 0)
    states = [(since - result.start_ns, state.value) for since, state in result.timelines["color"].changes]
    assert states == [(0, "STALE"), (500 * MS, "LOST")]
    assert color.states_ns[ModalityState.LOST] == SPAN_NS - 500 * MS


def test_a_silent_end_is_a_gap_of_the_labels_and_of_the_stock_synchronizer(bag: Path) -> None:
    middle = START_NS + 450 * MS
    both: Faults = lambda arrivals: without("depth", middle)(without("color", middle)(arrivals))  # noqa: E731
    result = run(bag, faults=both)
    for delivery in (result.measures.delivery, result.measures.stock):
        assert delivery is not None
        assert (delivery.number, delivery.run_ns) == (5, SPAN_NS)
        assert delivery.rate_hz == pytest.approx(4 / 0.902)
    # The last set left at 405 ms, the last message was recorded at 905 ms; color arrives 2 ms before its set leaves.
    assert result.gaps == [Gap(START_NS + 405 * MS, START_NS + 905 * MS)]
    assert [state.value for _, state in result.timelines["color"].changes] == ["OK", "STALE", "LOST"]


def test_nothing_arrives_at_all(bag: Path) -> None:
    result = run(bag, faults=lambda arrivals: iter([each for each in arrivals if not each.modality]))
    assert result.measures.delivery == Delivery(0, 0, SPAN_NS, SPAN_NS)
    assert result.measures.waits.percentile_s(50) is None
    assert result.measures.complete_share is None
    assert {name: counts.recorded for name, counts in result.measures.modalities.items()} == dict.fromkeys(
        TOPICS, COUNT
    )


def test_what_is_dropped_is_counted_with_its_reason(tmp_path: Path) -> None:
    recorded = frames(COUNT)
    stamp = stamps(COUNT)
    recorded[4] = recorded[4]._replace(message=image(np.zeros_like(rgb(0)), "rgb8", stamp[2]))
    recorded[13] = recorded[13]._replace(message=image(np.zeros_like(millimetres(0)), "16UC1", stamp[6]))
    recorded.insert(17, recorded[16]._replace(time_ns=recorded[16].time_ns + 1))
    measures = run(write_bag(tmp_path / "kitchen", recorded)).measures
    color, depth = measures.modalities["color"], measures.modalities["depth"]
    assert color.dropped == {"black image": 1, "duplicate": 1}
    assert depth.dropped == {"0% of the depth is valid, 5% needed": 1}
    assert (measures.complete_sets, measures.partial_sets) == (8, 2)
    for counts in measures.modalities.values():
        used = counts.in_complete_sets + counts.in_partial_sets
        assert used + sum(counts.dropped.values()) == counts.arrived


def test_two_replays_are_equal_to_the_bit_and_tell_other_labels_apart(bag: Path, tmp_path: Path) -> None:
    first, second = run(bag), run(bag)
    assert first.digest == second.digest
    assert run(bag, faults=without("color")).digest != first.digest
    other = write_bag(tmp_path / "kitchen", frames(COUNT), StoragePlugin.SQLITE3)
    assert run(other).digest == first.digest
    assert run(bag, CONSTANT).digest != first.digest


def test_labels_are_compared_with_the_ground_truth_of_their_stamp(bag: Path) -> None:
    truth = np.ones(SIZE, np.uint8)
    truth[: SIZE[0] // 2] = 0
    truth[-6:] = 255
    with truth_of(dict.fromkeys((*stamps(4), START_NS - 7), truth)) as labels:
        scores = run(bag, CONSTANT, truth=labels).measures.scores
    width = SIZE[1]
    assert scores.confusion.counts[:2, :2].tolist() == [[0, 4 * 12 * width], [0, 4 * 6 * width]]
    assert scores.confusion.counts.sum() == 4 * 18 * width
    assert scores.accuracy.value == pytest.approx(6 / 18)
    assert scores.confusion.mean_iou() == pytest.approx((0 + 6 / 18) / 2)
    assert scores.accuracy.frames == 4


def test_the_truth_of_color_serves_for_depth_beside_it_but_not_for_its_neighbour(tmp_path: Path) -> None:
    recorded = [
        Recorded(DEPTH, stamp + 5 * MS, image(millimetres(number), "16UC1", stamp + 8 * MS))
        for number, stamp in enumerate(stamps(COUNT))
    ]
    bag = write_bag(tmp_path / "kitchen", recorded)
    with truth_of({stamps(COUNT)[number]: np.ones(SIZE, np.uint8) for number in (0, 5)}) as labels:
        assert run(bag, CONSTANT, {"depth": DEPTH}, truth=labels).measures.scores.accuracy.frames == 2
    quick = [
        Recorded(DEPTH, START_NS + number * 10 * MS, image(millimetres(number), "16UC1", START_NS + number * 10 * MS))
        for number in range(40)
    ]
    bag = write_bag(tmp_path / "quick", quick)
    with truth_of({START_NS + 200 * MS: np.ones(SIZE, np.uint8)}) as labels:
        # 10 ms from one frame to the next: within the 20 ms of a set, yet another instant.
        assert run(bag, CONSTANT, {"depth": DEPTH}, truth=labels).measures.scores.accuracy.frames == 1


def shifted(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
    for arrival in arrivals:
        yield replace(arrival, stamp_ns=arrival.stamp_ns + 77 * MS)


def test_a_fault_of_the_stamps_does_not_change_what_there_was_to_see(bag: Path) -> None:
    with truth_of({stamps(COUNT)[3]: np.ones(SIZE, np.uint8)}) as labels:
        assert run(bag, CONSTANT, truth=labels, faults=shifted).measures.scores.accuracy.frames == 1


def smaller(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
    for arrival in arrivals:
        yield replace(arrival, edits=(lambda pixels: pixels[::2, ::2],))


def test_truth_of_another_size_is_told_unless_a_fault_changed_the_size(bag: Path) -> None:
    with truth_of({stamp: np.ones((12, 16), np.uint8) for stamp in stamps(COUNT)}) as labels:
        why = rf"stamp {START_NS}: the ground truth is 16 x 12 pixels, the color image 32 x 24 pixels"
        with pytest.raises(DatasetError, match=why):
            run(bag, truth=labels)
        # Depth leads, of whatever size: its labels are scaled.
        assert run(bag, CONSTANT, truth=labels, faults=without("color")).measures.scores.accuracy.value == 1
    with truth_of({stamp: np.ones(SIZE, np.uint8) for stamp in stamps(COUNT)}) as labels:
        assert run(bag, CONSTANT, truth=labels, faults=smaller).measures.scores.accuracy.value == 1


def test_agreement_is_with_the_labels_of_the_full_run_at_the_same_stamps(bag: Path) -> None:
    with LabelStore() as full:
        run(bag, keep=full)
        assert len(full) == COUNT
        assert run(bag, full=full).measures.scores.agreement.value == 1
        scores = run(bag, full=full, faults=without("color")).measures.scores
        assert (scores.agreement.frames, scores.agreement.pixels) == (COUNT, COUNT * SIZE[0] * SIZE[1])
        assert scores.agreement.alike == alike_by_hand()
        assert run(bag, full=full, faults=shifted).measures.scores.agreement.value == 1


def alike_by_hand() -> int:
    """Pixels where `BrightnessEngine` says the same of color and of depth."""
    alike = 0
    for number in range(COUNT):
        color, depth = (
            BRIGHT.segment(FrameSet(name, {name: Frame(name, 1, data)})).labels
            for name, data in (("color", rgb(number)), ("depth", millimetres(number)))
        )
        alike += int(np.count_nonzero(color == depth))
    return alike


def test_consistency_is_of_consecutive_labels_of_one_size_within_a_second(tmp_path: Path) -> None:
    def bright(number: int, value: int, stamp: int) -> Recorded:
        noise = np.random.default_rng(number).integers(0, 9, (*SIZE, 3))
        return Recorded(COLOR, stamp, image((value + noise).astype(np.uint8), "rgb8", stamp))

    stamp = stamps(6)
    recorded = [bright(number, value, stamp[number]) for number, value in enumerate((200, 200, 30, 30, 30))]
    recorded.append(bright(9, 200, stamp[5] + 2_000_000_000))
    result = run(write_bag(tmp_path / "kitchen", recorded), topics={"color": COLOR})
    assert (result.measures.scores.consistency.frames, result.measures.scores.consistency.value) == (4, 3 / 4)
    assert result.worst_by == "consistency"
    (worst,) = result.worst
    assert (worst.score, worst.stamp_ns, worst.missing) == (0, stamp[2], ("depth",))


def test_the_worst_frames_are_few_apart_and_pictures(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "kitchen", frames(200))
    with truth_of({stamp: np.full(SIZE, number % 2, np.uint8) for number, stamp in enumerate(stamps(200))}) as labels:
        result = run(bag, truth=labels)
    assert result.worst_by == "accuracy"
    assert len(result.worst) == 8
    times = sorted(frame.since_start_ns for frame in result.worst)
    assert min(later - earlier for earlier, later in pairwise(times)) >= 10**9
    picture = cv2.imdecode(np.frombuffer(result.worst[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (150, 4 * 200, 3)


def test_by_the_receive_stamps_messages_are_paired_by_when_they_were_recorded(tmp_path: Path) -> None:
    recorded = [
        each._replace(message=image(rgb(0) if each.topic == COLOR else millimetres(0), encoding, 0))
        for each in frames(COUNT)
        for encoding in ("rgb8" if each.topic == COLOR else "16UC1",)
    ]
    bag = write_bag(tmp_path / "kitchen", recorded)
    assert run(bag).measures.modalities["color"].dropped == {"its stamp is zero": COUNT}
    result = run(bag, settings=ReplaySettings(stamps="receive"))
    assert result.measures.complete_sets == COUNT


def test_sets_without_any_modality_of_the_bundle_are_not_labelled(bag: Path) -> None:
    color_only = InstantSegmenter(modalities=(ColorModality(),))()
    result = run(bag, color_only, faults=without("color", START_NS + 450 * MS))
    assert (result.measures.delivery.number, result.measures.unlabelled_sets) == (5, 5)
    assert result.gaps == [Gap(START_NS + 405 * MS, result.end_ns)]


def test_of_a_damaged_bag_what_came_until_then_is_measured(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "kitchen", frames(600), compression=CompressionMode.STORAGE)
    break_chunk(bag, 1)
    result = run(bag)
    assert result.damage is not None
    assert "kitchen cannot be read" in result.damage
    color = result.measures.modalities["color"]
    assert 100 < color.recorded < 600
    assert result.measures.delivery.number == color.recorded == color.arrived
    assert result.measures.delivery.run_ns < color.recorded * PERIOD_NS


@pytest.mark.parametrize("number", [0, 1])
def test_a_bag_without_messages_is_told(tmp_path: Path, number: int) -> None:
    bag = write_bag(tmp_path / "kitchen", frames(number), empty=(COLOR, DEPTH))
    if number:
        assert run(bag).measures.delivery.number == 1
    else:
        with pytest.raises(DatasetError, match=f"kitchen has no message on {COLOR}, {DEPTH} that can be read"):
            run(bag)


def test_messages_that_cannot_be_read_were_recorded_too(tmp_path: Path) -> None:
    garbage = [
        Recorded(COLOR, each.time_ns, b"\0\1\0\0broken", "sensor_msgs/msg/Image") if number % 4 == 0 else each
        for number, each in enumerate(frames(COUNT))
    ]
    color = run(write_bag(tmp_path / "kitchen", garbage)).measures.modalities["color"]
    assert (color.recorded, color.arrived, color.in_complete_sets, sum(color.dropped.values())) == (10, 5, 5, 5)


@pytest.mark.parametrize(
    "faults",
    [
        [{"kind": "clock_offset", "modality": "depth", "offset_s": 5.0}, NO_COLOR | {"from_s": 3.0}],
        [{"kind": "delay", "modality": "color", "delay_s": 2.0}, NO_COLOR | {"from_s": 4.0}],
    ],
)
def test_frames_that_wait_for_seconds_are_still_known(tmp_path: Path, faults: list[dict[str, Any]]) -> None:
    scenario = Scenario.model_validate({"name": "made", "faults": faults})
    settings = ReplaySettings(sync=SyncConfig(queue_size=20))
    result = run(write_bag(tmp_path / "kitchen", frames(60)), faults=scenario.faults_for(), settings=settings)
    assert result.measures.waits.percentile_s(99) == pytest.approx(1.9, abs=0.5)


def test_in_a_loop_each_frame_waits_since_its_own_arrival(tmp_path: Path) -> None:
    loop = Scenario.model_validate({"name": "made", "faults": [{"kind": "bag_loop", "length_s": 2.0, "times": 3}]})
    settings = ReplaySettings(sync=SyncConfig(sensor_timeout_ns=2 * 10**9))
    result = run(write_bag(tmp_path / "kitchen", frames(40)), faults=loop.faults_for(), settings=settings)
    assert result.measures.delivery.number == 80
    assert wait_ms(result) == {2: 80}


def test_measures_of_several_bags_add_up(tmp_path: Path, bag: Path) -> None:
    other = write_bag(tmp_path / "hall", frames(30))
    with truth_of({stamp: np.ones(SIZE, np.uint8) for stamp in stamps(30)}) as labels:
        parts = [run(path, truth=labels).measures for path in (bag, other)]
    total = merged(parts, 4)
    assert total.delivery.number == COUNT + 30
    assert total.delivery.run_ns == sum(part.delivery.run_ns for part in parts)
    assert (total.scores.confusion.counts == sum(part.scores.confusion.counts for part in parts)).all()
    assert total.modalities["color"].recorded == COUNT + 30
    assert total.waits.counts == {20: COUNT + 30}
    assert parts[0].delivery.number == COUNT
