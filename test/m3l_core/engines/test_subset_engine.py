"""A bundle with networks for subsets: the one that is made for the sensors that are there runs, and only that one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.bundles import write_bundle

from m3l_core.bundle import DESCRIPTION_FILE, ModelBundle, join_bundles
from m3l_core.engines.engine import load_engine
from m3l_core.engines.onnx_export import export_onnx
from m3l_core.errors import BundleError
from m3l_core.frames import ModelInput
from m3l_core.metrics import subsets
from m3l_core.modalities import ColorModality, DepthModality

pytestmark = [pytest.mark.needs("torch", "onnx", "onnxscript", "onnxruntime"), pytest.mark.usefixtures("one_thread")]
MODALITIES = (ColorModality(), DepthModality(), DepthModality(name="second"))
NAMES = tuple(modality.name for modality in MODALITIES)
STREAMS = {"color": [0], "color+second": [0, 2]}
"""Subsets that have a network of their own; the others are left to the full one."""


def noise(streams: int, seed: int) -> ModelInput:
    images = np.random.default_rng(seed).normal(size=(1, streams, 3, 64, 96)).astype(np.float32)
    return ModelInput(images, np.ones((1, streams), np.bool_))


def restricted(frame: ModelInput, streams: list[int]) -> ModelInput:
    return ModelInput(frame.images[:, streams], frame.present[:, streams])


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("joined")
    full = ModelBundle.load(write_bundle(folder / "full", MODALITIES, seed=1))
    networks = {}
    for number, (key, streams) in enumerate(STREAMS.items()):
        chosen = tuple(MODALITIES[stream] for stream in streams)
        networks[key] = ModelBundle.load(write_bundle(folder / str(number), chosen, seed=7 + number))
        networks[key].description.miou[key] = 0.5
    bundle = join_bundles(folder / "whole", full, networks, "# whole\n")
    return export_onnx(bundle, [noise(3, 0)]).folder


@pytest.mark.parametrize("engine", ["torch", "onnxruntime", "openvino"])
def test_each_subset_is_labelled_by_its_own_network(joined: Path, engine: str) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino", reason="needs openvino: pip install 'm3l_ros[openvino]'")
    bundle = ModelBundle.load(joined)
    runs = load_engine(bundle, engine, "fp32", 1)
    frame = noise(3, 3)
    plain = load_engine(without_networks(bundle), engine, "fp32", 1)
    for subset in subsets(NAMES):
        seen = frame.with_only(subset, NAMES)
        key = "+".join(subset)
        if key in STREAMS:
            network = load_engine(ModelBundle.load(joined / key), engine, "fp32", 1)
            expected = network.infer(restricted(seen, STREAMS[key]), (48, 80))
        else:
            expected = plain.infer(seen, (48, 80))
        found = runs.infer(seen, (48, 80))
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(found.confidence, expected.confidence)
        if key in STREAMS:  # which is another network than the full one
            assert (found.labels != plain.infer(seen, (48, 80)).labels).any()


def without_networks(bundle: ModelBundle) -> ModelBundle:
    return ModelBundle(bundle.folder, bundle.description.model_copy(update={"subset_networks": {}}))


def test_the_streams_of_missing_sensors_are_not_run(joined: Path) -> None:
    engine = load_engine(ModelBundle.load(joined), "torch", "fp32", 1)
    seen: list[int] = []
    for number, each in enumerate((engine._full, *engine._of_subsets.values())):  # type: ignore[attr-defined]
        each._network.register_forward_hook(lambda *_, number=number: seen.append(number))
    for subset in (("color",), ("color", "second"), NAMES, ("depth",)):
        engine.infer(noise(3, 0).with_only(subset, NAMES), (64, 96))
    assert seen == [1, 2, 0, 0]


def test_the_bundle_tells_what_it_holds(joined: Path) -> None:
    bundle = ModelBundle.load(joined)
    assert list(bundle.description.subset_networks) == list(STREAMS)
    assert bundle.description.miou == dict.fromkeys(STREAMS, 0.5)
    assert list(bundle.subset_bundles()) == list(STREAMS)
    for key, each in bundle.subset_bundles().items():
        assert each.folder == joined / key and "model.onnx" in each.description.graphs
    assert (joined / "README.md").read_text() == "# whole\n"


@pytest.mark.parametrize("damage", ["swapped", "missing", "other weights", "unknown subset", "all of them"])
def test_networks_that_are_not_the_bundle_s_are_refused(joined: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(joined, folder)
    if damage == "swapped":
        (folder / "color").rename(folder / "x")
        (folder / "color+second").rename(folder / "color")
        (folder / "x").rename(folder / "color+second")
    elif damage == "missing":
        shutil.rmtree(folder / "color")
    elif damage == "other weights":
        other = write_bundle(tmp_path / "other", MODALITIES[:1], seed=55)
        shutil.rmtree(folder / "color")
        shutil.copytree(other, folder / "color")
    else:
        text = (folder / DESCRIPTION_FILE).read_text()
        name = "thermal" if damage == "unknown subset" else "color+depth+second"
        (folder / DESCRIPTION_FILE).write_text(text.replace("subset_networks:\n", f"subset_networks:\n  {name}: ab\n"))
    with pytest.raises(BundleError):
        load_engine(ModelBundle.load(folder), "torch", "fp32", 1)
