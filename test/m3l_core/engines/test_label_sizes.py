"""Every size asked for is made from one that the engine can compute."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from m3l_core.engines.label_sizes import LabelSizes

SIDES = st.integers(1, 5000)
SIZES = st.tuples(SIDES, SIDES)
INPUTS = st.tuples(*[st.integers(1, 40).map(lambda n: 32 * n)] * 2)


@given(largest=SIZES, input_size=INPUTS, size=SIZES)
def test_the_nearest_size_is_within_and_is_the_size_itself_if_that_is(
    largest: tuple[int, int], input_size: tuple[int, int], size: tuple[int, int]
) -> None:
    sizes = LabelSizes.up_to(largest, input_size)
    nearest = sizes.nearest(size)
    for low, side, high in zip(sizes.smallest, nearest, sizes.largest, strict=True):
        assert low <= side <= high
    assert sizes.nearest(nearest) == nearest
    assert sizes.nearest(sizes.best) == sizes.best
    if all(32 <= side <= high for side, high in zip(size, largest, strict=True)):
        assert nearest == size


@given(only=SIZES, size=SIZES)
def test_one_size_alone_is_always_the_nearest(only: tuple[int, int], size: tuple[int, int]) -> None:
    sizes = LabelSizes.only(only)
    assert sizes.fixed
    assert sizes.nearest(size) == only


def test_up_to_is_best_at_twice_the_input_and_says_so() -> None:
    sizes = LabelSizes.up_to((720, 1280), (240, 320))
    assert (sizes.smallest, sizes.best) == ((32, 32), (480, 640))
    assert (str(sizes), str(LabelSizes.only((480, 640)))) == ("up to 720x1280", "480x640")
    assert not sizes.fixed


@pytest.mark.parametrize("largest", [(0, 100), (479, 1000), (1000, 639)])
def test_sizes_that_are_not_in_order_are_refused(largest: tuple[int, int]) -> None:
    with pytest.raises(ValidationError, match="expected sizes in order"):
        LabelSizes(smallest=(1, 1), best=(480, 640), largest=largest)
