"""Labels are kept by recording, never by frame."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from m3l_core.datasets.folder import Sample
from m3l_core.datasets.splits import split_by_recording

RECORDINGS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40)
FRACTIONS = st.floats(0.001, 1.0)
SEEDS = st.integers(0, 2**32)


def frames(recordings: list[str]) -> list[Sample]:
    return [Sample({"color": Path(f"{n}.jpg")}, Path(f"{n}.png"), name) for n, name in enumerate(recordings)]


@given(RECORDINGS, FRACTIONS, SEEDS)
def test_a_recording_keeps_all_its_labels_or_loses_all(recordings: list[str], fraction: float, seed: int) -> None:
    samples = frames(recordings)
    labelled, unlabelled = split_by_recording(samples, fraction, seed)
    assert not {sample.recording for sample in labelled} & {sample.recording for sample in unlabelled}
    assert [sample for sample in samples if sample in labelled] == labelled
    assert {sample.label for sample in unlabelled} <= {None}
    images = [sample.images for sample in (*labelled, *unlabelled)]
    assert len(images) == len(samples)
    assert all(sample.images in images for sample in samples)


@given(RECORDINGS, FRACTIONS, SEEDS)
def test_the_fraction_counts_recordings_and_is_at_least_one(recordings: list[str], fraction: float, seed: int) -> None:
    labelled, _ = split_by_recording(frames(recordings), fraction, seed)
    assert len({sample.recording for sample in labelled}) == max(1, round(fraction * len(set(recordings))))


@given(RECORDINGS, FRACTIONS, FRACTIONS, SEEDS)
def test_a_smaller_fraction_is_a_part_of_a_larger_one(
    recordings: list[str], one: float, other: float, seed: int
) -> None:
    small, large = (split_by_recording(frames(recordings), part, seed)[0] for part in sorted((one, other)))
    assert {sample.recording for sample in small} <= {sample.recording for sample in large}


@given(RECORDINGS, SEEDS)
def test_the_order_of_the_list_does_not_matter(recordings: list[str], seed: int) -> None:
    samples = frames(recordings)
    one, other = (split_by_recording(order, 0.5, seed)[0] for order in (samples, samples[::-1]))
    assert one == other[::-1]


def test_seeds_draw_other_recordings_and_all_of_them_in_turn() -> None:
    samples = frames(list("abcdefgh"))
    drawn = [split_by_recording(samples, 0.25, seed)[0] for seed in range(60)]
    assert {sample.recording for chosen in drawn for sample in chosen} == set("abcdefgh")
    assert drawn[0] == split_by_recording(samples, 0.25, 0)[0]
