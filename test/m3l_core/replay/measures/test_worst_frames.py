"""Few pictures, a second apart, of the worst."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from m3l_core.replay.measures.worst_frames import MOST, WorstFrame, WorstFrames, worst_of

SECOND = 1_000_000_000


def keep(scores: list[tuple[int, float]]) -> list[tuple[int, float]]:
    worst = WorstFrames()
    for at, score in scores:
        if worst.wants(score, at):
            worst.add(WorstFrame(score, "kitchen", at, at, (), b""))
    return [(frame.since_start_ns, frame.score) for frame in worst.frames]


def test_of_neighbours_the_worst_is_kept() -> None:
    assert keep([(0, 0.5), (SECOND // 2, 0.4), (SECOND * 2, 0.3)]) == [(2 * SECOND, 0.3), (SECOND // 2, 0.4)]
    assert keep([(0, 0.4), (SECOND // 2, 0.5)]) == [(0, 0.4)]


def test_what_is_as_it_should_be_is_not_shown() -> None:
    assert keep([(0, 1.0)]) == []


@given(st.lists(st.tuples(st.integers(0, 30 * SECOND), st.floats(0, 1)), max_size=60))
def test_there_are_few_they_are_apart_and_the_very_worst_is_among_them(scores: list[tuple[int, float]]) -> None:
    scores = sorted(scores)
    kept = keep(scores)
    assert len(kept) <= MOST
    times = sorted(at for at, _ in kept)
    assert all(later - earlier >= SECOND for earlier, later in pairwise(times))
    assert [score for _, score in kept] == sorted(score for _, score in kept)
    least = min((score for _, score in scores), default=1.0)
    if least < 1:
        assert kept[0][1] == least


def test_the_worst_of_several_bags_are_chosen_among_all() -> None:
    frames = [WorstFrame(score / 100, name, 0, 0, (), b"") for name in "ab" for score in range(MOST)]
    assert [(frame.score, frame.bag) for frame in worst_of(reversed(frames))] == [
        (score / 100, name) for score in range(MOST // 2) for name in "ab"
    ]
