"""A trained network leaves the training as a bundle that labels as it did."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.rooms import recipe, write_rooms

from m3l_core.bundle import ModelBundle
from m3l_core.datasets.folder import Teacher, read_sample
from m3l_core.engines.engine import load_engine
from m3l_core.errors import BundleError
from m3l_core.frames import Frame, FrameSet
from m3l_core.model.network import LinearFusionSegFormer, upsample
from m3l_core.model.start_weights import StartWeights, load_start_weights
from m3l_core.preprocessing import prepare
from m3l_core.trainer.data import read_data
from m3l_core.trainer.export import export_bundle
from m3l_core.trainer.provenance import Provenance
from m3l_core.trainer.trainer import Trainer

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]
COMMAND = "training/train.py tiny.yaml --data rooms --output runs/tiny"


TERMS = StartWeights(source="encoder.pth", licence="Some-1.0", commercial=False, notice="Research only.")


@pytest.fixture(scope="module")
def trained(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    made = recipe(
        data={"labelled": "train.json", "validation": "val.json", "label_fraction": 0.4, "label_seed": 2},
        method={"pseudo_labels": "mean_teacher", "modality_dropout": {}},
    )
    folder = tmp_path_factory.mktemp("run")
    run = Trainer(made, read_data(made, write_rooms(folder / "rooms")), folder, workers=0)
    run.run()
    return run


def export(trained: Trainer, folder: Path, start_weights: StartWeights | None = None) -> ModelBundle:
    provenance = Provenance.of(trained.recipe, trained.data, COMMAND, start_weights)
    return export_bundle(trained.averaged_network.eval(), trained.recipe, trained.history, provenance, folder)


@pytest.fixture
def bundle(trained: Trainer, tmp_path: Path) -> ModelBundle:
    return export(trained, tmp_path / "bundle")


@pytest.mark.parametrize("there", [("color", "depth"), ("color",), ("depth",)], ids="+".join)
def test_the_bundle_labels_as_the_network_did(trained: Trainer, bundle: ModelBundle, there: tuple[str, ...]) -> None:
    images, _ = read_sample(trained.data.validation[0])
    frames = FrameSet(there[0], {name: Frame(name, 0, images[name]) for name in there})
    size = trained.recipe.input_height, trained.recipe.input_width
    model_input = prepare(frames, trained.recipe.modalities, size)
    network: LinearFusionSegFormer = deepcopy(trained.averaged_network).cpu().eval()
    with torch.no_grad():
        present = torch.from_numpy(model_input.present)
        streams = network(torch.from_numpy(model_input.images), present)
        expected = upsample(network.ensemble(streams, present), size).argmax(1)[0].numpy()
    found = load_engine(ModelBundle.load(bundle.folder), "torch", "fp32").infer(model_input, size).labels
    assert (found == expected).mean() > 0.99  # the weights are in half precision


def test_the_description_is_that_of_the_recipe(trained: Trainer, bundle: ModelBundle) -> None:
    described, made = ModelBundle.load(bundle.folder).description, trained.recipe
    assert described.name == made.name
    assert described.labels == made.labels
    assert described.modalities == made.modalities
    assert described.input_size == (made.input_height, made.input_width)
    assert described.network == trained.averaged_network.config
    assert described.miou == trained.history[-1]["miou"]
    assert described.training == {
        "command": COMMAND,
        "recipe": "tiny",
        "source": {},
        "seed": 0,
        "iterations": 10,
        "method": ["mean teacher", "modality dropout"],
        "data": [
            {
                "name": "",
                "share": 1.0,
                "labelled": "train.json",
                "labelled_frames": 2,
                "label_fraction": 0.4,
                "label_seed": 2,
                "unlabelled": None,
                "unlabelled_frames": 4,
                "validation": "val.json",
                "validation_frames": 2,
                "class_map": None,
            }
        ],
        "labelled_frames": 2,
        "unlabelled_frames": 4,
        "validation_frames": 2,
        "start_weights": {"source": "random", "licence": "Apache-2.0", "commercial": True, "notice": None},
        "teachers": [],
    }


def test_the_card_says_how_it_was_made_and_how_good_it_is(trained: Trainer, bundle: ModelBundle) -> None:
    card = (bundle.folder / "README.md").read_text()
    assert card.startswith("# Model card: tiny\n")
    assert f"`{COMMAND}`" in card
    assert "floor, wall, chair" in card
    assert "| method | mean teacher, modality dropout |" in card
    assert "| labelled frames | 2 of train.json, 0.4 of the recordings, drawn with seed 2 |" in card
    assert "| licence | Apache-2.0 |" in card
    assert "**Note.**" not in card
    assert "a missing modality is fed as the learnt mask token" in card
    assert f"| MM-Robust (mean) | {np.mean([*trained.history[-1]['miou'].values()]):.3f} |" in card
    for subset, value in trained.history[-1]["miou"].items():
        assert f"| {subset.replace('+', ' and ')} | {value:.3f} |" in card


def test_what_was_not_measured_is_told_as_such(trained: Trainer, tmp_path: Path) -> None:
    measured = trained.history[-1]["miou"] | {"depth": math.nan}
    provenance = Provenance.of(trained.recipe, trained.data, COMMAND)
    folder = tmp_path / "bundle"
    export_bundle(trained.averaged_network, trained.recipe, [{"miou": measured}], provenance, folder)
    assert set(ModelBundle.load(folder).description.miou) == {"color+depth", "color"}
    card = (folder / "README.md").read_text()
    assert "| depth | not measured |\n| MM-Robust (mean) | not measured |" in card
    assert "nan" not in card


def test_the_terms_of_the_start_weights_are_handed_on(trained: Trainer, tmp_path: Path) -> None:
    bundle = export(trained, tmp_path / "bundle", TERMS)
    assert bundle.description.training["start_weights"] == TERMS.model_dump()
    card = (bundle.folder / "README.md").read_text()
    assert "| start weights | encoder.pth, Some-1.0 |" in card
    assert "| licence | Some-1.0: no commercial use, as far as is known |" in card
    assert "\n> **Note.** Research only.\n" in card
    heir = load_start_weights(LinearFusionSegFormer(trained.averaged_network.config), str(bundle.folder))
    assert heir == TERMS.model_copy(update={"source": "bundle tiny, from encoder.pth"})


def test_the_card_says_whose_labels_taught_it_and_so_does_that_of_its_heir(trained: Trainer, tmp_path: Path) -> None:
    labelled = [replace(sample, teacher=Teacher("SAM 3", "SAM License")) for sample in trained.data.labelled]
    provenance = Provenance.of(trained.recipe, replace(trained.data, labelled=labelled), COMMAND, TERMS)
    bundle = export_bundle(trained.averaged_network, trained.recipe, trained.history, provenance, tmp_path / "bundle")
    card = (bundle.folder / "README.md").read_text()
    assert "| labels of | SAM 3 (SAM License): 2 labelled, 0 validation |" in card
    assert "as far as is known; of the labels of SAM 3: SAM License |" in card
    heir = load_start_weights(LinearFusionSegFormer(trained.averaged_network.config), str(bundle.folder))
    assert heir.notice == "Research only. Trained from weights that learnt from the labels of SAM 3 (SAM License)."
    provenance = Provenance.of(trained.recipe, replace(trained.data, labelled=labelled), COMMAND)
    bundle = export_bundle(trained.averaged_network, trained.recipe, trained.history, provenance, tmp_path / "free")
    heir = load_start_weights(LinearFusionSegFormer(trained.averaged_network.config), str(bundle.folder))
    assert heir.notice == "Trained from weights that learnt from the labels of SAM 3 (SAM License)."


def test_a_network_without_mask_tokens_is_told_as_such(trained: Trainer, tmp_path: Path) -> None:
    config = trained.averaged_network.config.model_copy(update={"missing": "no_stream"})
    provenance = Provenance.of(trained.recipe, trained.data, COMMAND)
    network = LinearFusionSegFormer(config).eval()
    bundle = export_bundle(network, trained.recipe, trained.history, provenance, tmp_path / "bundle")
    assert "a missing modality is left out of the network" in (bundle.folder / "README.md").read_text()


def test_only_what_the_robot_needs_is_stored(bundle: ModelBundle) -> None:
    weights = bundle.read_weights()
    assert not [name for name in weights if name.endswith("num_batches_tracked")]
    assert {"encoder.mask_token", "head.norm.running_mean"} <= set(weights)
    assert all(np.isfinite(value).all() for value in weights.values())


def test_a_diverged_network_is_not_shipped(trained: Trainer, tmp_path: Path) -> None:
    network = LinearFusionSegFormer(trained.averaged_network.config).eval()
    with torch.no_grad():
        network.encoder.mask_token[0] = float("nan")
    provenance = Provenance.of(trained.recipe, trained.data, COMMAND)
    with pytest.raises(BundleError, match=r"mask_token.*diverged"):
        export_bundle(network, trained.recipe, trained.history, provenance, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
