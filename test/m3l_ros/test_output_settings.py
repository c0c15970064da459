"""What parameters say of the outputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from m3l_ros.output_settings import OutputSettings, output_size_problem, unknown_classes

NAMES = ("floor", "wall", "chair")


def settings(size: str = "reference", unlabelled: int = 255, interest: tuple[str, ...] = ()) -> OutputSettings:
    return OutputSettings(size, 0.0, unlabelled, interest, 0.5)


@pytest.mark.parametrize(("text", "size"), [("reference", (480, 640)), ("network", (96, 128)), ("320x200", (200, 320))])
def test_a_size_is_the_image_s_the_network_s_or_width_by_height(text: str, size: tuple[int, int]) -> None:
    assert output_size_problem(text) == ""
    assert settings(text).size((480, 640), (96, 128)) == size


@pytest.mark.parametrize("text", ["", "camera", "320", "320x", "320 x 240", "-3x4", "0x9", "9x9000", "1e3x9", "٣x٤"])
def test_another_size_is_refused_with_what_was_expected(text: str) -> None:
    assert output_size_problem(text).startswith("expected ")
    assert repr(text) in output_size_problem(text)


@given(arrays(np.uint8, (3, 4), elements=st.sampled_from((0, 1, 2, 253, 254, 255))))
def test_where_0_is_no_label_each_class_has_one_id_more_and_its_name_with_it(labels: np.ndarray) -> None:
    plain, shifted = settings(), settings(unlabelled=0)
    np.testing.assert_array_equal(plain.published_ids(labels), labels)
    ids = shifted.published_ids(labels)
    assert ids.dtype == np.uint8
    np.testing.assert_array_equal(ids == 0, labels == 255)
    assert plain.class_map(NAMES) == {0: "floor", 1: "wall", 2: "chair"}
    names = shifted.class_map(NAMES)
    for label, published in zip(labels.ravel().tolist(), ids.ravel().tolist(), strict=True):
        assert names.get(published) == plain.class_map(NAMES).get(label)


@given(st.sets(st.sampled_from(NAMES)))
def test_the_classes_of_interest_are_255_and_nothing_else_is(chosen: set[str]) -> None:
    table = settings(interest=(*chosen, "")).interest(NAMES)
    assert {NAMES[i] for i in np.flatnonzero(table)} == chosen
    assert set(table.tolist()) <= {0, 255}


def test_a_class_that_the_bundle_lacks_is_told_with_the_nearest() -> None:
    assert unknown_classes(("", "wall"), NAMES) == ""
    assert (
        unknown_classes(("wall", "chairs"), NAMES)
        == "the bundle has no class 'chairs', the nearest is 'chair'; it has floor, wall, chair"
    )
