"""How public checkpoints name the tensors of an EfficientNet-lite, and what ``EfficientNet`` calls them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from m3l_core.network_config import EfficientNetConfig

_STATISTICS = ("weight", "bias", "running_mean", "running_var")

# Per layout: the stem's convolution and norm, then those of a block, by our names; the first group does not expand.
_PORTED = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}
_TIMM = {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")}
_TIMM_FIRST = {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")}


def is_efficientnet(names: Mapping[str, Tensor]) -> bool:
    """Whether these are an EfficientNet's tensors, in timm's layout or in that of the ported TensorFlow weights."""
    return ("conv_stem.weight" in names and "bn1.weight" in names) or "_conv_stem.weight" in names


def efficientnet_tensors(state: Mapping[str, Tensor], config: EfficientNetConfig) -> dict[str, Tensor]:
    """The encoder's tensors by our names, each norm's as (C,); what is not there is left out, as is the classifier."""
    tensors = {}
    for ours, theirs in _names(config, "_conv_stem.weight" in state):
        if theirs in state:
            tensors[ours] = state[theirs]
    return tensors


def _names(config: EfficientNetConfig, ported: bool) -> Iterator[tuple[str, str]]:
    yield from _unit("stem", "", *(("_conv_stem", "_bn0") if ported else ("conv_stem", "bn1")))
    number = 0
    for group, depth in enumerate(config.group_depths):
        for index in range(depth):
            parts = _PORTED if ported else (_TIMM if group else _TIMM_FIRST)
            block = f"_blocks.{number}." if ported else f"blocks.{group}.{index}."
            for part, (convolution, norm) in parts.items():
                if group or part != "expand":
                    yield from _unit(f"groups.{group}.{index}.{part}", block, convolution, norm)
            number += 1


def _unit(ours: str, block: str, convolution: str, norm: str) -> Iterator[tuple[str, str]]:
    yield f"{ours}.convolution.weight", f"{block}{convolution}.weight"
    for kind in _STATISTICS:
        yield f"{ours}.norm.{kind}", f"{block}{norm}.{kind}"
