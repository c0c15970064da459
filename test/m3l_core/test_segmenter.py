"""Frame sets in, labels at the size of the reference out, by a real engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.bundles import describe
from support.engines import SeeingEngine

from m3l_core.bundle import ModelBundle
from m3l_core.engines.engine import load_engine
from m3l_core.frames import Frame, FrameSet
from m3l_core.modalities import DepthModality
from m3l_core.preprocessing import prepare
from m3l_core.segmenter import Segmenter

pytestmark = pytest.mark.usefixtures("one_thread")
COLOR_SIZE, DEPTH_SIZE = (60, 80), (45, 60)


@pytest.fixture(scope="module")
def segmenter(tiny_bundle: Path) -> Segmenter:
    bundle = ModelBundle.load(tiny_bundle)
    return Segmenter(bundle.description, load_engine(bundle, "torch", "fp32"))


@pytest.fixture(scope="module")
def frames() -> dict[str, Frame]:
    random = np.random.default_rng(0)
    return {
        "color": Frame("color", 7, random.integers(0, 256, (*COLOR_SIZE, 3), dtype=np.uint8)),
        "depth": Frame("depth", 7, random.integers(0, 5000, DEPTH_SIZE, dtype=np.uint16)),
    }


@pytest.mark.parametrize(
    ("there", "size"),
    [
        (("color", "depth"), COLOR_SIZE),
        (("depth", "color"), DEPTH_SIZE),
        (("color",), COLOR_SIZE),
        (("depth",), DEPTH_SIZE),
    ],
)
def test_labels_have_the_size_of_the_reference_whichever_it_is(
    segmenter: Segmenter, frames: dict[str, Frame], there: tuple[str, ...], size: tuple[int, int]
) -> None:
    segmentation = segmenter.segment(FrameSet(there[0], {name: frames[name] for name in there}))
    assert segmentation.labels.shape == segmentation.confidence.shape == size
    assert segmentation.labels.dtype == segmentation.confidence.dtype == np.uint8
    assert segmentation.labels.max() < len(segmenter.description.labels)
    # The winner of four classes has a quarter of the probability at least; bilinear means keep that.
    assert segmentation.confidence.min() >= 255 // 4


def test_labels_of_another_size_are_those_that_the_engine_computes_there(
    segmenter: Segmenter, frames: dict[str, Frame]
) -> None:
    frame_set = FrameSet("color", frames)
    prepared = prepare(frame_set, segmenter.description.modalities, segmenter.description.input_size)
    for size in ((30, 50), (64, 96), (70, 81)):
        found = segmenter.segment(frame_set, size)
        assert found.labels.shape == found.confidence.shape == size
        np.testing.assert_array_equal(found.labels, segmenter.engine.infer(prepared, size).labels)


def test_the_engine_gets_the_frames_as_the_bundle_says(segmenter: Segmenter, frames: dict[str, Frame]) -> None:
    frame_set = FrameSet("color", frames)
    prepared = prepare(frame_set, segmenter.description.modalities, segmenter.description.input_size)
    expected = segmenter.engine.infer(prepared, COLOR_SIZE)
    np.testing.assert_array_equal(segmenter.segment(frame_set).labels, expected.labels)


def test_a_lost_sensor_changes_the_labels_but_not_what_it_showed(
    segmenter: Segmenter, frames: dict[str, Frame]
) -> None:
    both = segmenter.segment(FrameSet("color", frames))
    color = FrameSet("color", {"color": frames["color"]}, {"depth": "lost"})
    alone = segmenter.segment(color)
    assert not np.array_equal(alone.confidence, both.confidence)
    np.testing.assert_array_equal(segmenter.segment(color).confidence, alone.confidence)


@pytest.mark.parametrize("least", [0.0, 0.3, 1.0])
def test_labels_of_less_confidence_are_left_out(segmenter: Segmenter, frames: dict[str, Frame], least: float) -> None:
    frame_set = FrameSet("color", frames)
    plain = segmenter.segment(frame_set)
    careful = Segmenter(segmenter.description, segmenter.engine, least).segment(frame_set)
    sure = plain.confidence >= 255 * least
    np.testing.assert_array_equal(careful.labels, np.where(sure, plain.labels, 255))
    np.testing.assert_array_equal(careful.confidence, plain.confidence)


def test_depth_that_cannot_lie_over_color_is_masked(segmenter: Segmenter, frames: dict[str, Frame]) -> None:
    wide = Frame("depth", 7, np.full((45, 80), 2000, np.uint16))
    alone = segmenter.segment(FrameSet("color", {"color": frames["color"]}, {"depth": "lost"}))
    found = segmenter.segment(FrameSet("color", {"color": frames["color"], "depth": wide}))
    np.testing.assert_array_equal(found.confidence, alone.confidence)


def test_depth_is_seen_by_the_camera_that_is_known(frames: dict[str, Frame]) -> None:
    description = describe((DepthModality(normalization="geometry"),))
    engine = SeeingEngine()
    segmenter = Segmenter(description, engine)
    frame_set = FrameSet("depth", {"depth": frames["depth"]})
    for fov_deg in (None, 100.0, None):
        segmenter.horizontal_fov_deg = fov_deg
        segmenter.segment(frame_set)
        prepared = prepare(frame_set, description.modalities, description.input_size, None, fov_deg)
        np.testing.assert_array_equal(engine.seen, prepared.images)
