"""Frames of a bag, whatever the bundle's sensors are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.bags import COLOR, MS, SIZE, Recorded, frames, image, stamps, write_bag
from support.bundles import describe

from m3l_core.datasets.model_inputs import read_model_inputs
from m3l_core.errors import DatasetError
from m3l_core.modalities import ColorModality, DepthModality, IntensityModality
from m3l_core.preprocessing import normalize, resize

THERMAL = IntensityModality(normalization="range", low=7000, high=9000)


def test_a_bag_of_three_sensors(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).integers(7000, 9000, (8, *SIZE), np.uint16)
    thermal = [
        Recorded("/thermal/image_raw", stamp + 4 * MS, image(pixels, "mono16", stamp))
        for stamp, pixels in zip(stamps(8), counts, strict=True)
    ]
    bag = write_bag(tmp_path / "hall", sorted([*frames(8), *thermal], key=lambda each: each.time_ns))
    described = describe((ColorModality(), DepthModality(), THERMAL))
    found = read_model_inputs(bag, described)
    assert found and all(each.present.all() for each in found)
    expected = normalize(THERMAL, resize(THERMAL, counts[0], described.input_size))
    np.testing.assert_array_equal(found[0].images[0, 2], expected)
    with pytest.raises(DatasetError, match="no topic looks like lidar"):
        read_model_inputs(bag, describe((ColorModality(), IntensityModality(name="lidar"))))


def test_a_bundle_of_color_alone_needs_no_depth(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "hall", [each for each in frames(8) if each.topic == COLOR])
    assert read_model_inputs(bag, describe((ColorModality(),)))
