"""Whoever shows frames to a network tells with which camera they were seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bags import COLOR, START_NS, Recorded, write_bag
from support.bags import SIZE as BAG_SIZE
from support.bags import frames as bag_frames
from support.bundles import describe
from support.engines import ConstantEngine
from support.two_cameras import camera_info, pinhole

from m3l_core import preprocessing
from m3l_core.bundle import ModelBundle
from m3l_core.datasets.folder import Sample
from m3l_core.datasets.model_inputs import read_model_inputs
from m3l_core.depth_geometry import Focal
from m3l_core.evaluation.conditions import standard_conditions
from m3l_core.evaluation.robustness import RobustnessEvaluator

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]
FX = 55.0
Rooms = tuple[list[Sample], list[Sample]]


def prelabel(bundle: ModelBundle, sample: Sample) -> None:
    from m3l_core.annotation.prelabels import Prelabeller

    Prelabeller(bundle, "torch", bundle.description.labels)(sample)


def measure(bundle: ModelBundle, sample: Sample) -> None:
    conditions = standard_conditions(bundle.description.modality_names, ())
    RobustnessEvaluator(ConstantEngine(), bundle.description).measure([sample], conditions)


def evaluate(bundle: ModelBundle, sample: Sample) -> None:
    from m3l_core.engines.torch_engine import load_network
    from m3l_core.trainer.evaluator import evaluate

    evaluate(load_network(bundle), [sample], bundle.description.modalities, bundle.description.input_size)


def calibrate(bundle: ModelBundle, sample: Sample) -> None:
    from m3l_core.engines.torch_engine import load_network
    from m3l_core.trainer.calibration import fit_temperatures

    fit_temperatures(load_network(bundle), [sample], bundle.description.modalities, bundle.description.input_size)


def look(bundle: ModelBundle, sample: Sample) -> None:
    from m3l_core.engines.torch_engine import load_network
    from m3l_core.model.features import frame_features

    frame_features(load_network(bundle), [sample], bundle.description.modalities, bundle.description.input_size)


@pytest.fixture
def seen_with(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The focal lengths with which depth was normalised since."""
    seen: list[Any] = []
    normalize = preprocessing.normalize

    def noting(modality: Any, data: Any, out: Any = None, focal: Focal | None = None) -> Any:
        if modality.kind == "depth":
            seen.append(focal)
        return normalize(modality, data, out, focal)

    monkeypatch.setattr(preprocessing, "normalize", noting)
    return seen


@pytest.mark.parametrize("use", [prelabel, measure, evaluate, calibrate, look], ids=lambda use: str(use.__name__))
def test_the_frames_of_an_index(
    use: Callable[[ModelBundle, Sample], None], tiny_bundle: Path, rooms: Rooms, seen_with: list[Any]
) -> None:
    use(ModelBundle.load(tiny_bundle), replace(rooms[0][0], fx=FX))
    height, width = 64, 96
    assert len(seen_with) == 1
    np.testing.assert_allclose(seen_with[0], (FX / width, FX / height))


def test_the_frames_of_a_bag(tmp_path: Path, seen_with: list[Any]) -> None:
    info = camera_info(pinhole(BAG_SIZE, FX), "camera")
    beside = f"{COLOR.rpartition('/')[0]}/camera_info"
    bag = write_bag(tmp_path / "hall", [*bag_frames(8), Recorded(beside, START_NS, info)])
    assert read_model_inputs(bag, describe())
    np.testing.assert_allclose(seen_with, len(seen_with) * [(FX / BAG_SIZE[1], FX / BAG_SIZE[0])])
