"""What the faults of images do to them; the sources stay as they are, and so does their kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pydantic import TypeAdapter

from m3l_core.bags.arrivals import Arrival, Edit
from m3l_core.preprocessing import metric_depth
from m3l_core.replay.faults.fault import Fault, Run
from m3l_core.replay.faults.scenario import AnyFault

SIZE = (120, 160)
ADAPTER: TypeAdapter[Fault] = TypeAdapter(AnyFault)
SHARES = st.floats(0, 1)
FAULTS = st.one_of(
    st.builds(lambda share: fault("depth_holes", share=share), SHARES),
    st.builds(lambda sigma: fault("depth_noise", sigma=sigma), SHARES),
    st.builds(lambda scale: fault("resolution", scale=scale), st.floats(0.01, 4)),
    st.builds(lambda rate: fault("random_missing", zero_rate=rate), SHARES),
    st.builds(lambda share, sigma: fault("noisy", salt_pepper=share, sigma=sigma), SHARES, st.floats(0, 10)),
    st.sampled_from(["black", "saturated"]).map(lambda kind: fault(kind)),
)
SIDES = st.tuples(st.integers(0, 12), st.integers(0, 12))
IMAGES = {
    "color": SIDES.flatmap(lambda size: hnp.arrays(np.uint8, (*size, 3))),
    "depth": st.one_of(
        SIDES.flatmap(lambda size: hnp.arrays(np.uint16, size)),
        SIDES.flatmap(
            lambda size: hnp.arrays(
                np.float32, size, elements=st.one_of(st.floats(-1, 100, width=32), st.just(np.nan), st.just(np.inf))
            )
        ),
    ),
}


def fault(kind: str, **settings_: Any) -> Any:
    return ADAPTER.validate_python({"kind": kind, **settings_})


def edits(which: Fault, modality: str, number: int = 1, seed: int = 0) -> list[Edit]:
    arrivals = [Arrival(instant, modality, None, instant) for instant in range(number)]
    return [edit for arrival in which.apply(arrivals, Run(0, seed, (0, 0))) for edit in arrival.edits]


def damaged(which: Fault, image: NDArray[Any]) -> NDArray[Any]:
    (edit,) = edits(which, "color" if image.ndim == 3 else "depth")
    before = image.copy()
    image.setflags(write=False)
    found = edit(image)
    np.testing.assert_array_equal(image, before)
    assert (found.dtype, found.ndim) == (image.dtype, image.ndim)
    return found


def color() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(60, 200, (*SIZE, 3), np.uint8)


def depth_mm() -> NDArray[np.uint16]:
    depth = np.random.default_rng(2).integers(1000, 4000, SIZE, np.uint16)
    depth[:30] = 0
    return depth


def depth_m() -> NDArray[np.float32]:
    depth = depth_mm() * np.float32(0.001)
    depth[:10], depth[10:20] = np.nan, np.inf
    return depth


def images_for(which: Any) -> list[NDArray[Any]]:
    images = {"color": [color()], "depth": [depth_mm(), depth_m()]}
    return [image for name in images if which.modality in ("all", name) for image in images[name]]


@settings(max_examples=300, deadline=None)
@given(FAULTS, st.data())
def test_any_image_keeps_its_kind_and_the_source_its_pixels(which: Any, data: st.DataObject) -> None:
    modality = data.draw(st.sampled_from(["color", "depth"])) if which.modality == "all" else which.modality
    image = data.draw(IMAGES[modality])
    found = damaged(which, image)
    assert found.shape[2:] == image.shape[2:]
    if which.kind != "resolution":
        assert found.shape == image.shape


@pytest.mark.parametrize(
    "which",
    [
        fault("depth_holes", share=0.0),
        fault("depth_noise", sigma=0.0),
        fault("resolution", scale=1.0),
        fault("random_missing", zero_rate=0.0),
        fault("noisy", salt_pepper=0.0, sigma=0.0),
    ],
    ids=lambda which: which.kind,
)
def test_an_amount_of_zero_changes_no_pixel(which: Any) -> None:
    for image in images_for(which):
        np.testing.assert_array_equal(damaged(which, image), image)


@pytest.mark.parametrize(
    "which",
    [
        fault("depth_holes", share=0.3),
        fault("depth_noise", sigma=0.1),
        fault("random_missing", zero_rate=0.5),
        fault("noisy", salt_pepper=0.1, sigma=0.2),
    ],
    ids=lambda which: which.kind,
)
def test_each_message_gets_a_damage_of_its_own_that_is_the_same_every_time(which: Any) -> None:
    for image in images_for(which):
        modality = "color" if image.ndim == 3 else "depth"
        first, second = edits(which, modality, number=2)
        (other,) = edits(which, modality, seed=1)
        found = [edit(image).tobytes() for edit in (first, first, second, other)]
        assert found[0] == found[1]
        assert len(set(found)) == 3


@pytest.mark.parametrize(("kind", "value"), [("black", 0), ("saturated", 255)])
def test_black_and_saturated_images_are_that(kind: str, value: int) -> None:
    assert np.unique(damaged(fault(kind), color())) == value
    assert edits(fault(kind), "depth") == []


@pytest.mark.parametrize("share", [0.05, 0.4, 1.0])
def test_holes_cover_their_share_and_hang_together(share: float) -> None:
    full = np.full(SIZE, 2000, np.uint16)
    hole = damaged(fault("depth_holes", share=share), full) == 0
    assert hole.sum() == round(share * full.size)
    # Of the pixels right of a hole's pixel, as many would be one as elsewhere if holes were single pixels.
    assert hole[:, 1:][hole[:, :-1]].mean() > 0.8


def test_a_hole_is_nan_in_metres() -> None:
    found = damaged(fault("depth_holes", share=0.5), np.full(SIZE, 2, np.float32))
    assert np.isnan(found).mean() == 0.5
    assert set(found[~np.isnan(found)]) == {2}


def test_depth_noise_grows_with_the_depth_and_leaves_invalid_pixels() -> None:
    which = fault("depth_noise", sigma=0.05)
    for image in (depth_mm(), depth_m()):
        found = damaged(which, image)
        valid = metric_depth(image)[1]
        np.testing.assert_array_equal(found[~valid], image[~valid])
        relative = found[valid] / image[valid].astype(np.float64) - 1
        assert relative.std() == pytest.approx(0.05, rel=0.05)
        assert relative.mean() == pytest.approx(0, abs=0.003)


def test_images_change_their_resolution() -> None:
    halved = damaged(fault("resolution", scale=0.5), color())
    np.testing.assert_allclose(halved, color().reshape(60, 2, 80, 2, 3).mean(axis=(1, 3)), atol=0.51)
    for image in (depth_mm(), depth_m()):
        found = damaged(fault("resolution", scale=0.5), image)
        assert found.shape == (60, 80)
        # No depth that was nowhere in the scene.
        assert set(found[np.isfinite(found)]) <= set(image[np.isfinite(image)])
    assert damaged(fault("resolution", scale=0.01), color()).shape == (1, 2, 3)


@pytest.mark.parametrize("rate", [0.25, 0.75])
def test_random_missing_zeroes_each_value_for_itself(rate: float) -> None:
    which = fault("random_missing", zero_rate=rate)
    image = color()
    gone = damaged(which, image) == 0
    assert gone.mean() == pytest.approx(rate, abs=0.01)
    # The three channels of a pixel are not hit together.
    assert gone.all(axis=2).mean() == pytest.approx(rate**3, abs=0.02)
    found = damaged(which, depth_mm())
    assert (found[30:] == 0).mean() == pytest.approx(rate, abs=0.02)
    assert set(found[found > 0]) <= set(depth_mm().ravel())


def test_salt_and_pepper_are_the_extremes_of_the_valid_values() -> None:
    which = fault("noisy", salt_pepper=0.2, sigma=0.0)
    for image in (color(), depth_mm(), depth_m()):
        valid = np.ones(image.shape, np.bool_) if image.ndim == 3 else metric_depth(image)[1]
        least, most = image[valid].min(), image[valid].max()
        found = damaged(which, image)
        changed = ~((found == image) | (np.isnan(found) & np.isnan(image)))
        assert set(found[changed]) == {least, most}
        assert np.mean(found == most) == pytest.approx(0.1, abs=0.01)
        assert np.mean(found == least) == pytest.approx(0.1, abs=0.01)


def test_the_noise_is_in_standard_deviations_of_the_image() -> None:
    which = fault("noisy", salt_pepper=0.0, sigma=0.2)
    for image in (color(), depth_mm(), depth_m()):
        valid = np.ones(image.shape, np.bool_) if image.ndim == 3 else metric_depth(image)[1]
        found = damaged(which, image)
        noise = found[valid].astype(np.float64) - image[valid]
        assert noise.std() == pytest.approx(0.2 * image[valid].std(dtype=np.float64), rel=0.05)
        assert abs(noise.mean()) < 4 * noise.std() / np.sqrt(noise.size)
        np.testing.assert_array_equal(found[~valid], image[~valid])


def test_salt_and_pepper_are_noisy_too_and_what_has_no_depth_is_not() -> None:
    for image in (depth_mm(), depth_m()):
        valid = metric_depth(image)[1]
        calm, noisy = (damaged(fault("noisy", salt_pepper=0.5, sigma=sigma), image) for sigma in (0.0, 0.2))
        hit = metric_depth(calm)[1] & (calm != image)
        assert 0.4 < hit[valid].mean() < 0.6 and 0.4 < hit[~valid].mean() < 0.6
        moved = ~((noisy == calm) | (np.isnan(noisy) & np.isnan(calm)))
        assert moved[hit].mean() > 0.99 and moved[valid].mean() > 0.99
        assert not moved[~valid & ~hit].any()


def test_noise_does_not_wrap_around() -> None:
    image = color()
    image[::2], image[1::2] = 0, 255
    found = damaged(fault("noisy", salt_pepper=0.0, sigma=0.2), image)
    assert found[::2].max() < 200
    assert found[1::2].min() > 55


def test_an_image_without_depth_stays_so_under_noise() -> None:
    assert not damaged(fault("noisy", salt_pepper=0.5, sigma=1.0), np.zeros(SIZE, np.uint16)).any()
