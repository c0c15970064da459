"""Depth as a camera gives it: holes where cameras have them, errors of disparity, and the same each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from m3l_core.datasets.folder import evenly_spread, read_image, read_index
from m3l_core.trainer.depth_sensor import comes_from_a_sensor, sense

SIZE = (120, 160)
Depth = NDArray[np.float32]


def flat(depth_m: float) -> Depth:
    return np.full(SIZE, depth_m, np.float32)


def gray(value: int) -> NDArray[np.uint8]:
    return np.full((*SIZE, 3), value, np.uint8)


def seen(depth_m: Depth, color: NDArray[np.uint8] | None = None, strength: float = 1.0, count: int = 40) -> Depth:
    """(count, H, W): the same scene, sensed anew."""
    return np.stack(
        [sense(depth_m, color, depth_m.shape[1], strength, np.random.default_rng(seed)) for seed in range(count)]
    )


def holes(sensed: Depth) -> float:
    return float((sensed == 0).mean())


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=40),
        elements=st.one_of(st.just(0.0), st.floats(0.125, 80, width=32)),
    ),
    st.floats(0, 2),
    st.integers(0, 2**31),
    st.sampled_from([None, 0, 120, 255]),
)
def test_whatever_the_scene_there_is_a_distance_or_a_hole(
    depth_m: Depth, strength: float, seed: int, shade: int | None
) -> None:
    color = None if shade is None else np.full((*depth_m.shape, 3), shade, np.uint8)
    before = depth_m.copy()
    one, again = (sense(depth_m, color, 320, strength, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(depth_m, before)
    assert (one.shape, one.dtype) == (depth_m.shape, np.float32)
    assert np.isfinite(one).all()
    assert (one >= 0).all()


def test_without_strength_only_what_is_rounded_and_smoothed_changes() -> None:
    sensed = seen(flat(2.0), gray(120), strength=0.0)
    assert holes(sensed) == 0
    np.testing.assert_allclose(sensed, 2.0, rtol=0.01)


def test_more_strength_has_more_holes() -> None:
    scene = flat(4.0)
    scene[40:80, 50:90] = 1.2
    shares = [holes(seen(scene, gray(20), strength)) for strength in (0.25, 0.5, 1.0, 2.0)]
    assert shares == sorted(shares)
    assert shares[0] < 0.5 * shares[-1]


def test_noise_grows_with_the_square_of_the_distance() -> None:
    spread = {}
    for distance in (1.0, 2.0, 3.2):
        sensed = seen(flat(distance), gray(120))
        spread[distance] = float((sensed[sensed > 0] - distance).std())
    assert spread[2.0] / spread[1.0] == pytest.approx(4, rel=0.35)
    assert spread[3.2] / spread[1.0] == pytest.approx(3.2**2, rel=0.35)


def test_beyond_what_can_be_matched_distances_are_far_too_large() -> None:
    near, far = seen(flat(2.5), gray(120)), seen(flat(9.0), gray(120))
    assert (near > 5.0).mean() == 0
    assert (far > 12.0).mean() > 0.1


def test_behind_the_edge_of_what_is_near_nothing_is_seen_at_one_side() -> None:
    scene = flat(4.0)
    scene[:, 70:100] = 1.0
    sensed = seen(scene, gray(120), count=60) == 0
    left, right = sensed[:, :, 62:69].mean(axis=(1, 2)), sensed[:, :, 101:108].mean(axis=(1, 2))
    # A disparity of 15 to 46 pixels of the sensor more, a quarter of that here.
    assert ((left > 0.4) ^ (right > 0.4)).mean() > 0.8
    assert (left > 0.4).any()
    assert (right > 0.4).any()
    assert sensed[:, :, 75:95].mean() < 0.1


@pytest.mark.parametrize("shade", [10, 252])
def test_what_is_dark_or_shiny_is_lost_more_often(shade: int) -> None:
    color = gray(120)
    color[:, 40:120] = shade
    lost = seen(flat(2.0), color, count=120) == 0
    assert lost[:, :, 50:110].mean() > lost[:, :, [*range(25, 35), *range(125, 135)]].mean() + 0.05


def test_steps_as_coarse_as_a_set_stores_them_are_no_edges() -> None:
    slope = np.linspace(0.7, 1.6, SIZE[1], dtype=np.float32)[None].repeat(SIZE[0], 0)
    steps = np.rint(slope / np.float32(0.039)) * np.float32(0.039)
    assert holes(seen(steps)) == pytest.approx(holes(seen(slope)), abs=0.01)
    rough = {
        name: np.abs(np.diff(np.median(seen(scene), axis=0)[:, 20:-20], axis=1)).max()
        for name, scene in {"slope": slope, "steps": steps}.items()
    }
    assert rough["steps"] < 0.6 * 0.039


def test_what_a_sensor_has_seen_is_known_by_its_holes() -> None:
    depth = np.full(SIZE, 2000, np.uint16)
    assert not comes_from_a_sensor(depth)
    depth[:, :3] = 0
    assert comes_from_a_sensor(depth)
    in_metres = flat(2.0)
    assert not comes_from_a_sensor(in_metres)
    in_metres[:, :3] = np.nan
    assert comes_from_a_sensor(in_metres)
    assert comes_from_a_sensor(sense(flat(2.0), None, SIZE[1], 1.0, np.random.default_rng(0)))


def test_holes_are_as_many_as_a_real_sensor_has(shared: Path) -> None:
    def read(index: str) -> list[tuple[Any, Any]]:
        if not (shared / index).is_file():
            pytest.skip(f"needs {index} in ../shared (or in the folder that M3L_SHARED names)")
        samples = evenly_spread(read_index(shared / index), 40)
        return [
            (
                cv2.resize(read_image(sample.images["color"], "color"), (320, 240)),
                cv2.resize(read_image(sample.images["depth"], "depth"), (320, 240), interpolation=cv2.INTER_NEAREST),
            )
            for sample in samples
        ]

    real = [depth == 0 for _, depth in read("robot_lab/frames.json")]
    modelled = [
        sense(depth * np.float32(0.001), color, 320, 1.0, np.random.default_rng(number)) == 0
        for number, (color, depth) in enumerate(read("nyuv2/val.json"))
    ]
    for share in (np.mean, lambda masks: np.mean([mask[:, :16] | mask[:, -16:] for mask in masks])):
        assert share(modelled) == pytest.approx(share(real), rel=0.3)
    count = [
        np.mean([cv2.connectedComponents(mask.astype(np.uint8))[0] for mask in masks]) for masks in (real, modelled)
    ]
    assert count[1] == pytest.approx(count[0], rel=0.4)
