"""A trained network leaves the training as a bundle that labels as it did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.rooms import recipe

torch = pytest.importorskip("torch", reason="needs torch: pip install 'm3l_ros[train]'")

from m3l_core.bundle import ModelBundle  # noqa: E402
from m3l_core.datasets.folder import Sample, read_sample  # noqa: E402
from m3l_core.engines.engine import load_engine  # noqa: E402
from m3l_core.errors import BundleError  # noqa: E402
from m3l_core.frames import Frame, FrameSet  # noqa: E402
from m3l_core.model.network import LinearFusionSegFormer, upsample  # noqa: E402
from m3l_core.preprocessing import prepare  # noqa: E402
from m3l_core.trainer.export import export_bundle  # noqa: E402
from m3l_core.trainer.trainer import SupervisedTrainer  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
Rooms = tuple[list[Sample], list[Sample]]
COMMAND = "training/train.py tiny.yaml --data rooms --output runs/tiny"


@pytest.fixture(scope="module")
def trained(rooms: Rooms, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> SupervisedTrainer:
    run = SupervisedTrainer(recipe(), *rooms, tmp_path_factory.mktemp("run"), workers=0)
    run.run()
    return run


@pytest.fixture
def bundle(trained: SupervisedTrainer, tmp_path: Path) -> ModelBundle:
    network = trained.averaged_network.eval()
    return export_bundle(network, trained.recipe, trained.history, COMMAND, tmp_path / "bundle")


@pytest.mark.parametrize("there", [("color", "depth"), ("color",), ("depth",)], ids="+".join)
def test_the_bundle_labels_as_the_network_did(
    trained: SupervisedTrainer, bundle: ModelBundle, rooms: Rooms, there: tuple[str, ...]
) -> None:
    images, _ = read_sample(rooms[1][0])
    frames = FrameSet(there[0], {name: Frame(name, 0, images[name]) for name in there})
    size = trained.recipe.input_height, trained.recipe.input_width
    model_input = prepare(frames, trained.recipe.modalities, size)
    network: LinearFusionSegFormer = trained.averaged_network.eval()
    with torch.no_grad():
        present = torch.from_numpy(model_input.present)
        streams = network(torch.from_numpy(model_input.images), present)
        expected = upsample(network.ensemble(streams, present), size).argmax(1)[0].numpy()
    found = load_engine(ModelBundle.load(bundle.folder), "torch", "fp32").infer(model_input, size).labels
    assert (found == expected).mean() > 0.99  # the weights are in half precision


def test_the_description_is_that_of_the_recipe(trained: SupervisedTrainer, bundle: ModelBundle) -> None:
    described, made = ModelBundle.load(bundle.folder).description, trained.recipe
    assert described.name == made.name
    assert described.labels == made.labels
    assert described.modalities == made.modalities
    assert described.input_size == (made.input_height, made.input_width)
    assert described.network == trained.network.config
    assert described.miou == trained.history[-1]["miou"]
    assert described.training == {
        "command": COMMAND,
        "recipe": "tiny",
        "seed": 0,
        "iterations": 10,
        "labelled": "train.json",
        "validation": "val.json",
        "start_weights": "random",
    }


def test_the_card_says_how_it_was_made_and_how_good_it_is(trained: SupervisedTrainer, bundle: ModelBundle) -> None:
    card = (bundle.folder / "README.md").read_text()
    assert card.startswith("# Model card: tiny\n")
    assert f"`{COMMAND}`" in card
    assert "floor, wall, chair" in card
    for subset, value in trained.history[-1]["miou"].items():
        assert f"| {subset.replace('+', ' and ')} | {value:.3f} |" in card


def test_only_what_the_robot_needs_is_stored(bundle: ModelBundle) -> None:
    weights = bundle.read_weights()
    assert not [name for name in weights if name.endswith("num_batches_tracked")]
    assert {"encoder.mask_token", "head.norm.running_mean"} <= set(weights)
    assert all(np.isfinite(value).all() for value in weights.values())


def test_a_diverged_network_is_not_shipped(trained: SupervisedTrainer, tmp_path: Path) -> None:
    network = LinearFusionSegFormer(trained.network.config).eval()
    with torch.no_grad():
        network.encoder.mask_token[0] = float("nan")
    with pytest.raises(BundleError, match=r"mask_token.*diverged"):
        export_bundle(network, trained.recipe, trained.history, COMMAND, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
