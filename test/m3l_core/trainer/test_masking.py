"""What a student loses: never all of it, and as often as its recipe says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from m3l_core.trainer.masking import draw_present, draw_tokens
from m3l_core.trainer.method import ModalityDropout

Flags = NDArray[np.bool_]
NAMES = ("color", "depth", "height", "lidar")
NUMBER = 3000
SHARES = st.floats(0, 1)
SEEDS = st.integers(0, 2**32)
RECORDED = st.lists(st.booleans(), min_size=1, max_size=4).map(lambda flags: np.array(flags, np.bool_))
DROPOUTS = st.one_of(
    st.builds(ModalityDropout, draw=st.sampled_from(["one", "independent"]), probability=SHARES, partial=SHARES),
    st.builds(
        ModalityDropout,
        draw=st.just("independent"),
        probability=st.fixed_dictionaries(dict.fromkeys(NAMES, SHARES)),
        partial=SHARES,
    ),
)


def often(recorded: list[bool], **dropout: object) -> tuple[Flags, Flags]:
    """Many draws: (NUMBER, M) present, (NUMBER, M) partial."""
    random, flags, made = np.random.default_rng(1), np.array(recorded), ModalityDropout.model_validate(dropout)
    drawn = [draw_present(flags, NAMES[: len(flags)], made, random) for _ in range(NUMBER)]
    present, partial = zip(*drawn, strict=True)
    return np.array(present), np.array(partial)


@given(RECORDED, DROPOUTS, SEEDS)
def test_one_recorded_modality_stays_whole_and_none_appears(
    recorded: Flags, dropout: ModalityDropout, seed: int
) -> None:
    before = recorded.copy()
    present, partial = draw_present(recorded, NAMES[: len(recorded)], dropout, np.random.default_rng(seed))
    assert (present & ~partial).any() == recorded.any()
    assert not (present & ~recorded).any()
    assert not (partial & ~present).any()
    assert np.array_equal(recorded, before)


@given(RECORDED, DROPOUTS, SEEDS)
def test_one_loses_at_most_one(recorded: Flags, dropout: ModalityDropout, seed: int) -> None:
    if dropout.draw == "one":
        present, partial = draw_present(recorded, NAMES[: len(recorded)], dropout, np.random.default_rng(seed))
        assert ((recorded & ~present) | partial).sum() <= 1


@given(RECORDED, SEEDS)
def test_without_dropout_nothing_is_lost(recorded: Flags, seed: int) -> None:
    names, random = NAMES[: len(recorded)], np.random.default_rng(seed)
    present, partial = draw_present(recorded, names, None, random)
    assert np.array_equal(present, recorded)
    assert not partial.any()
    assert draw_tokens(recorded, (32, 32), None, random).all()


@pytest.mark.parametrize("probability", [0.0, 0.3, 2 / 3, 1.0])
def test_one_takes_its_share_of_the_samples_evenly_from_what_they_have(probability: float) -> None:
    present, _ = often([True, False, True, True], draw="one", probability=probability)
    assert not present[:, 1].any()
    lost = 1 - present[:, [0, 2, 3]].mean(axis=0)
    assert lost == pytest.approx([probability / 3] * 3, abs=0.03)


def test_independent_modalities_are_lost_each_for_itself() -> None:
    present, _ = often([True] * 4, draw="independent", probability=0.3)
    # All four at once, 0.3^4 of the draws, become three.
    assert 1 - present.mean(axis=0) == pytest.approx([0.3 - 0.3**4 / 4] * 4, abs=0.03)
    number_lost = (~present).sum(axis=1)
    assert (number_lost == 0).mean() == pytest.approx(0.7**4, abs=0.03)
    assert (number_lost == 3).mean() == pytest.approx(4 * 0.7 * 0.3**3 + 0.3**4, abs=0.03)


def test_each_modality_has_its_own_rate_and_the_rarely_lost_one_survives_more_often() -> None:
    present, _ = often([True, True], draw="independent", probability={"color": 0.5, "depth": 0.9})
    # Both at once, 0.45 of the draws, become one: color survives in 0.5 of 0.5 + 0.1.
    assert 1 - present[:, 0].mean() == pytest.approx(0.5 * 0.1 + 0.45 / 6, abs=0.03)
    assert 1 - present[:, 1].mean() == pytest.approx(0.9 * 0.5 + 0.45 * 5 / 6, abs=0.03)


def test_even_where_every_modality_is_always_lost_one_survives() -> None:
    present, _ = often([True, True], draw="independent", probability=1.0)
    assert set(present.sum(axis=1)) == {1}
    assert present[:, 0].mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("draw", ["one", "independent"])
def test_a_share_of_the_lost_modalities_is_lost_in_part(draw: str, share: float) -> None:
    whole_present, none_partial = often([True] * 3, draw=draw, probability=0.6)
    assert not none_partial.any()
    present, partial = often([True] * 3, draw=draw, probability=0.6, partial=share)
    hit = ~present | partial
    assert partial[hit].mean() == pytest.approx(share, abs=0.04)
    assert hit.mean() == pytest.approx((~whole_present).mean(), abs=0.04)


@pytest.mark.parametrize(("ratio", "lost"), [((0.0, 0.0), 0.0), ((0.4, 0.4), 0.4), ((0.25, 1.0), 0.625), ((1, 1), 1.0)])
def test_a_modality_that_fails_in_part_loses_the_share_of_its_tokens_that_was_drawn(
    ratio: tuple[float, float], lost: float
) -> None:
    dropout, random = ModalityDropout(partial=1.0, partial_ratio=ratio), np.random.default_rng(0)
    shares = [1 - draw_tokens(np.array([True]), (640, 640), dropout, random).mean() for _ in range(100)]
    assert np.mean(shares) == pytest.approx(lost, abs=0.06)
    assert ratio[0] - 0.06 <= min(shares)
    assert max(shares) <= ratio[1] + 0.06
    if ratio[0] < ratio[1]:
        assert max(shares) - min(shares) > 0.8 * (ratio[1] - ratio[0])


@settings(deadline=None)
@given(st.tuples(st.integers(1, 130), st.integers(1, 130)), SEEDS)
def test_tokens_are_lost_in_cells_and_only_where_a_modality_fails_in_part(size: tuple[int, int], seed: int) -> None:
    dropout = ModalityDropout(partial_ratio=(0.5, 0.5))
    kept = draw_tokens(np.array([False, True, False]), size, dropout, np.random.default_rng(seed))
    height, width = kept.shape[1:]
    assert (height, width) == (-(-size[0] // 4), -(-size[1] // 4))
    assert kept.dtype == np.bool_
    assert kept[[0, 2]].all()
    rows, columns = np.mgrid[:height, :width]
    assert np.array_equal(kept[1], kept[1][rows // 4 * 4, columns // 4 * 4])
