"""How public checkpoints name the tensors of a Mix Transformer or a PVT v2, and what ``encoder.stages`` calls them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

LayoutName = Literal["original", "timm", "Hugging Face"]


@dataclass(frozen=True)
class Layout:
    """Names of a stage's parts; each pattern captures the stage's number, the second one the block's as well."""

    first: str
    """Its name for the first convolution; what stands before it stands before all of them."""
    embedding: str
    block: str
    norm: str
    first_stage: int


LAYOUTS: dict[LayoutName, Layout] = {
    # Of SegFormer's authors, who took it from those of PVT v2.
    "original": Layout("patch_embed1.proj.weight", r"patch_embed(\d)\.", r"block(\d)\.(\d+)\.", r"norm(\d)\.", 1),
    "timm": Layout(
        "patch_embed.proj.weight",
        r"(?:patch_embed|stages\.(\d)\.downsample)\.",
        r"stages\.(\d)\.blocks\.(\d+)\.",
        r"stages\.(\d)\.norm\.",
        0,
    ),
    "Hugging Face": Layout(
        "patch_embeddings.0.proj.weight",
        r"patch_embeddings\.(\d)\.",
        r"block\.(\d)\.(\d+)\.",
        r"layer_norm\.(\d)\.",
        0,
    ),
}

# Names within a part, of all layouts; the first that fits counts.
_INNER_NAMES = {
    "attn.proj.": "attention.projection.",
    "attn.q.": "attention.query.",
    "attn.kv.": "attention.key_value.",
    "attn.sr.": "attention.reduction.",
    "attn.norm.": "attention.norm.",
    "attention.output.dense.": "attention.projection.",
    "attention.self.layer_norm.": "attention.norm.",
    "attention.self.sr.": "attention.reduction.",
    "attention.self.": "attention.",
    "norm1.": "attention_norm.",
    "layer_norm_1.": "attention_norm.",
    "norm2.": "feed_forward_norm.",
    "layer_norm_2.": "feed_forward_norm.",
    "layer_norm.": "norm.",
    "mlp.fc1.": "feed_forward.expand.",
    "mlp.dense1.": "feed_forward.expand.",
    "mlp.dwconv.dwconv.": "feed_forward.depthwise.",
    "mlp.dwconv.": "feed_forward.depthwise.",
    "mlp.fc2.": "feed_forward.contract.",
    "mlp.dense2.": "feed_forward.contract.",
    "proj.": "projection.",
}


def encoder_name(name: str, layout: Layout) -> str | None:
    """Our name, such as ``stages.0.blocks.1.attention.query.weight``; None for what is no part of a stage."""
    for part, pattern in (("embedding", layout.embedding), ("blocks", layout.block), ("norm", layout.norm)):
        if match := re.match(pattern, name):
            inner = name[match.end() :]
            for theirs, ours in _INNER_NAMES.items():
                if inner.startswith(theirs):
                    inner = ours + inner.removeprefix(theirs)
                    break
            stage, *block = match.groups(default=str(layout.first_stage))
            return ".".join(["stages", str(int(stage) - layout.first_stage), part, *block, inner])
    return None


def find_layout(names: Mapping[str, Tensor]) -> tuple[LayoutName, str] | None:
    """The layout of the encoder in a checkpoint, and what stands before each of its names, such as ``backbone.``."""
    for layout_name, layout in LAYOUTS.items():
        for name in names:
            if name == layout.first or name.endswith(f".{layout.first}"):
                return layout_name, name.removesuffix(layout.first)
    return None


def encoder_tensors(state: Mapping[str, Tensor], layout: LayoutName, prefix: str) -> dict[str, Tensor]:
    """The encoder's tensors by our names, each norm as (C,); classifiers and heads are left out."""
    tensors = {}
    for name, value in state.items():
        if name.startswith(prefix) and (ours := encoder_name(name.removeprefix(prefix), LAYOUTS[layout])):
            tensors[ours] = value
    # Hugging Face keeps keys and values apart.
    for name in [name for name in tensors if ".attention.key." in name]:
        value_name = name.replace(".attention.key.", ".attention.value.")
        if value_name in tensors and tensors[value_name].shape == tensors[name].shape:
            both = torch.cat([tensors.pop(name), tensors.pop(value_name)])
            tensors[name.replace(".attention.key.", ".attention.key_value.")] = both
    return tensors
