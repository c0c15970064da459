"""What each condition does to the images, and what is fed in place of a missing one."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from m3l_core.evaluation.conditions import (
    MISSING,
    NOISE_LEVELS,
    ZERO_RATES,
    Condition,
    Missing,
    Noisy,
    RandomMissing,
    Subset,
    apply_condition,
    model_input,
    nothing_present,
    standard_conditions,
)
from m3l_core.metrics import subsets
from m3l_core.modalities import ColorModality, DepthModality
from m3l_core.preprocessing import normalize

NAMES = ("color", "depth", "thermal", "lidar")
MODALITIES = (ColorModality(), DepthModality())
SHAPE = (3, 64, 96)
CONDITIONS = st.sampled_from(standard_conditions(NAMES))


def images_of(*names: str, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    return {name: random.uniform(-2.0, 2.0, SHAPE).astype(np.float32) for name in names}


@given(st.integers(1, 4))
def test_every_combination_is_measured_once(count: int) -> None:
    conditions = standard_conditions(NAMES[:count])
    present = [condition.present for condition in conditions if isinstance(condition, Subset)]
    assert present == subsets(NAMES[:count])
    hit = [(entry.zero_rate, entry.intact) for entry in conditions if isinstance(entry, RandomMissing)]
    # None hit is the full subset, and all at once are never hit.
    assert len(set(hit)) == len(hit) == len(ZERO_RATES) * (2**count - 2)
    assert [condition.level for condition in conditions if isinstance(condition, Noisy)] == list(NOISE_LEVELS)
    assert len({condition.name for condition in conditions}) == len(conditions)


def test_scenarios_can_be_left_out_but_not_the_subsets() -> None:
    kinds = {scenario: {type(entry) for entry in standard_conditions(NAMES, (scenario,))} for scenario in ("rmm", "nm")}
    assert kinds == {"rmm": {Subset, RandomMissing}, "nm": {Subset, Noisy}}
    assert {type(entry) for entry in standard_conditions(NAMES, ())} == {Subset}


@given(st.sampled_from(subsets(NAMES)), st.sampled_from(subsets(NAMES)))
def test_a_subset_keeps_what_is_there_and_wanted(present: tuple[str, ...], there: tuple[str, ...]) -> None:
    images = images_of(*there)
    left = apply_condition(Subset(present), images, "frame")
    assert set(left) == set(present) & set(there)
    assert all(left[name] is images[name] for name in left)


@pytest.mark.parametrize("rate", ZERO_RATES)
def test_random_missing_zeroes_its_share_of_values_of_what_is_hit_alone(rate: float) -> None:
    images = images_of("color", "depth", "thermal")
    left = apply_condition(RandomMissing(("depth",), rate), images, "frame")
    assert left["depth"] is images["depth"]
    for name in ("color", "thermal"):
        zeroed = left[name] == 0.0
        assert zeroed.mean() == pytest.approx(rate, abs=0.02)
        assert np.array_equal(left[name][~zeroed], images[name][~zeroed])
        # Values, not pixels: the channels fall out independently.
        assert (zeroed.any(axis=0) & ~zeroed.all(axis=0)).any()


@pytest.mark.parametrize("level", NOISE_LEVELS)
def test_noise_has_its_share_of_salt_and_pepper_and_its_sigma(level: str) -> None:
    share, sigma = NOISE_LEVELS[level]
    image = np.zeros(SHAPE, np.float32)
    image[0, 0, 0], image[0, 0, 1] = 30.0, -20.0
    left = apply_condition(Noisy(level), {"color": image, "depth": image}, "frame")
    for noisy in left.values():
        assert noisy.dtype == np.float32
        assert (noisy > 15.0).mean() == pytest.approx(share / 2, abs=0.01)
        assert (noisy < -10.0).mean() == pytest.approx(share / 2, abs=0.01)
        rest = noisy[np.abs(noisy) < 10.0]
        assert rest.std() == pytest.approx(sigma, rel=0.05)
        assert rest.mean() == pytest.approx(0.0, abs=0.02)
    assert not np.array_equal(left["color"], left["depth"])


@given(CONDITIONS, st.text(min_size=1), st.sampled_from(subsets(NAMES)))
def test_damage_is_the_same_whenever_it_is_done_and_spares_the_original(
    condition: Condition, frame: str, there: tuple[str, ...]
) -> None:
    images = images_of(*there)
    first = apply_condition(condition, images, frame)
    apply_condition(Noisy("high"), images, "another frame in between")
    second = apply_condition(condition, images, frame)
    untouched = images_of(*there)
    assert list(first) == list(second)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert all(np.array_equal(images[name], untouched[name]) for name in images)


def test_damage_differs_between_frames_and_between_conditions() -> None:
    images = images_of("color")
    noisy = [apply_condition(Noisy("low"), images, f"room/{number}.png")["color"] for number in range(3)]
    hit = [apply_condition(RandomMissing(("depth",), rate), images, "room/0.png")["color"] for rate in (0.5, 0.75)]
    zeroed = [image == 0.0 for image in hit]
    assert len({image.tobytes() for image in noisy}) == 3
    # With the same draws, what falls out at the lower rate would be part of what falls out at the higher.
    assert (zeroed[0] & ~zeroed[1]).any()


@pytest.mark.parametrize("missing", MISSING)
def test_what_is_fed_where_nothing_is_there(missing: Missing) -> None:
    nothing = nothing_present(MODALITIES, (64, 96), missing)
    assert nothing.images.shape == (1, 2, 3, 64, 96)
    assert nothing.images.dtype == np.float32
    assert nothing.present.tolist() == [[missing != "token"] * 2]
    if missing == "black":
        black = normalize(MODALITIES[0], np.zeros((64, 96, 3), np.uint8))
        assert np.array_equal(nothing.images[0, 0], black)
        assert (black < 0).all()
        assert not nothing.images[0, 1].any()  # a depth image of zeros is invalid everywhere
    else:
        assert not nothing.images.any()


@pytest.mark.parametrize("missing", MISSING)
@given(there=st.sampled_from([(), *subsets(("color", "depth"))]))
def test_what_is_there_is_fed_as_it_is_and_present(missing: Missing, there: tuple[str, ...]) -> None:
    images, nothing = images_of(*there), nothing_present(MODALITIES, SHAPE[1:], missing)
    before = nothing.images.copy()
    fed = model_input(images, MODALITIES, nothing)
    for index, modality in enumerate(MODALITIES):
        expected = images.get(modality.name, before[0, index])
        assert np.array_equal(fed.images[0, index], expected)
        assert fed.present[0, index] == (modality.name in there or missing != "token")
    assert np.array_equal(nothing.images, before)


def test_names_tell_what_was_done() -> None:
    names = {condition.name for condition in standard_conditions(("color", "depth"))}
    assert names == set(
        chain(
            ("color+depth", "color", "depth", "nm low", "nm mid", "nm high"),
            (f"rmm {rate}, intact {name}" for rate in (0.25, 0.5, 0.75) for name in ("color", "depth")),
        )
    )
