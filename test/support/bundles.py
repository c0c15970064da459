"""Small model bundles, whole and broken."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from support.onnx_graph import tiny_graph

from m3l_core.bundle import DESCRIPTION_FILE, WEIGHTS_FILE, BundleDescription, ModelBundle, save_bundle
from m3l_core.frames import ModelInput
from m3l_core.labels import LabelSet, SemanticClass
from m3l_core.modalities import ColorModality, DepthModality, Modality
from m3l_core.network_config import MixTransformerConfig, NetworkConfig

CLASSES = ("floor", "wall", "chair", "clutter")
COLORS = ((150, 120, 80), (120, 160, 190), (255, 220, 60), (128, 128, 128))
COLOR_AND_DEPTH = (ColorModality(), DepthModality())


def describe(modalities: tuple[Modality, ...] = COLOR_AND_DEPTH) -> BundleDescription:
    """A network that labels 64 x 96 pixels in milliseconds."""
    classes = tuple(SemanticClass(name=name, color=color) for name, color in zip(CLASSES, COLORS, strict=True))
    return BundleDescription(
        name="tiny",
        network=NetworkConfig(
            encoder=MixTransformerConfig(widths=(8, 16, 40, 64), depths=(1, 1, 1, 1)),
            num_modalities=len(modalities),
            num_classes=len(CLASSES),
            head_width=32,
        ),
        labels=LabelSet(classes=classes),
        modalities=modalities,
        input_height=64,
        input_width=96,
    )


def write_bundle(folder: Path, modalities: tuple[Modality, ...] = COLOR_AND_DEPTH, seed: int = 0) -> Path:
    """The network of that description with random weights."""
    import torch

    from m3l_core.model.network import LinearFusionSegFormer

    description = describe(modalities)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = LinearFusionSegFormer(description.network).state_dict()
        for name, value in state.items():
            if name.startswith("encoder") and name.endswith("bias"):  # zero when fresh, and then left out of a graph
                value.normal_(std=0.02)
    weights = {name: value.float().numpy() for name, value in state.items() if not name.endswith("num_batches_tracked")}
    return save_bundle(folder, description, weights, "# tiny\n").folder


def write_onnx_bundle(folder: Path, modalities: tuple[Modality, ...] = COLOR_AND_DEPTH) -> Path:
    """A bundle whose graph needs no torch to make: of one convolution, not of the network that it describes."""
    description = describe(modalities)
    graph = tiny_graph(len(description.modalities), len(CLASSES), *description.input_size)
    bundle = save_bundle(folder, description, {"none": np.zeros(1, np.float32)}, "# tiny\n")
    return bundle.add_graph(graph).folder


def write_exported_bundle(folder: Path, modalities: tuple[Modality, ...] = COLOR_AND_DEPTH) -> Path:
    """The same with model.onnx, exported from noise as frames."""
    from m3l_core.engines.onnx_export import export_onnx

    shape = (1, len(modalities))
    noise = np.random.default_rng(0).normal(size=(*shape, 3, 64, 96)).astype(np.float32)
    bundle = ModelBundle.load(write_bundle(folder, modalities))
    return export_onnx(bundle, [ModelInput(noise, np.ones(shape, np.bool_))]).folder


def _edit(old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / DESCRIPTION_FILE
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return edit


def _truncate(folder: Path) -> None:
    file = folder / WEIGHTS_FILE
    file.write_bytes(file.read_bytes()[:-100])


def _flip_a_byte(folder: Path) -> None:
    file = folder / WEIGHTS_FILE
    content = bytearray(file.read_bytes())
    content[-1] ^= 0xFF
    file.write_bytes(content)


BREAKAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "is not a model bundle: it has no model.yaml"),
    "no weights": (lambda folder: (folder / WEIGHTS_FILE).unlink(), "it has no weights.safetensors"),
    "a description that is not YAML": (_edit("name: tiny", "name: [tiny"), "model.yaml cannot be used"),
    "a description that is no text": (
        lambda folder: (folder / DESCRIPTION_FILE).write_bytes(b"\xff\xfe\x00"),
        "model.yaml cannot be used",
    ),
    "an empty description": (lambda folder: (folder / DESCRIPTION_FILE).write_text(""), "model.yaml cannot be used"),
    "an unknown key": (_edit("name: tiny", "name: tiny\nflavour: sweet"), "flavour"),
    "an impossible value": (_edit("input_height: 64", "input_height: -1"), "input_height"),
    "another network than the weights": (_edit("head_width: 32", "head_width: 16"), "do not fit"),
    "truncated weights": (_truncate, "is not the file that model.yaml describes"),
    "a flipped byte in the weights": (_flip_a_byte, "is not the file that model.yaml describes"),
}
"""What can happen to a bundle -> (how to do it to a whole one, part of the error that must follow)."""


def write_broken_bundle(folder: Path, breakage: str) -> Path:
    write_bundle(folder)
    BREAKAGES[breakage][0](folder)
    return folder
