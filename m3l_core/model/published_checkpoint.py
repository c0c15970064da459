"""Reads checkpoints in the layout that M3L's authors published.

Such a file is ``{"model_state_dict": {...}, ...}``. Semi-supervised runs hold two networks, under ``student.`` and
``teacher.``; the teacher's weights are the ones to run (M3L, section 3.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from m3l_core.errors import BundleError
from m3l_core.model.encoder_layouts import LAYOUTS, encoder_name
from m3l_core.model.tensor_files import read_tensors
from m3l_core.network_config import MixTransformerConfig, NetworkConfig

# Stages 2-4 carry mask tokens that nothing reads.
_UNUSED = re.compile(r"encoder\.patch_embed[2-4]\.mask_token|.*\.num_batches_tracked")
_NORM_COPY = re.compile(r"(.*)\.ln_(\d+)\.(weight|bias)")
_HEAD_NAMES = {
    "linear_fuse.conv.": "fuse.",
    "linear_fuse.bn.": "norm.",
    "linear_pred.": "classify.",
} | {f"linear_c{stage}.proj.": f"stage_linears.{stage - 1}." for stage in (1, 2, 3, 4)}


def load_published_checkpoint(
    path: str | Path,
    *,
    network: Literal["teacher", "student"] = "teacher",
    heads: tuple[int, int, int, int] = (1, 2, 5, 8),
) -> tuple[NetworkConfig, dict[str, Tensor]]:
    """Read a published checkpoint as a configuration and a state of ``LinearFusionSegFormer``.

    Only tensors are unpickled (``weights_only``), so a file from a stranger runs no code.

    Args:
        network: which of the two networks of a semi-supervised run; a plain checkpoint has only one.
        heads: attention heads per stage, which the tensors do not tell.

    Raises:
        BundleError: the file is not readable as tensors, or is not in the published layout.
    """
    state = read_tensors(path)
    if any(name.startswith(f"{network}.") for name in state):
        state = {k.removeprefix(f"{network}."): v for k, v in state.items() if k.startswith(f"{network}.")}
    try:
        return _config_of(state, heads), _translate(state)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise BundleError(
            f"{path} is not in the layout of a published M3L checkpoint ({error}); "
            "expected names such as 'encoder.patch_embed1.proj.module.weight'"
        ) from error


def is_published_checkpoint(state: Mapping[str, Tensor]) -> bool:
    """Whether these tensors are those of a published M3L network, or of two."""
    return any(name.endswith("encoder.patch_embed1.proj.module.weight") for name in state)


def _translate(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors, and stack the copies of each norm into (M, C)."""
    result: dict[str, Tensor] = {}
    copies: dict[str, dict[int, Tensor]] = {}
    for published, value in state.items():
        if _UNUSED.fullmatch(published):
            continue
        name = _our_name(published.replace(".module.", "."))
        if copy := _NORM_COPY.fullmatch(name):
            copies.setdefault(f"{copy[1]}.{copy[3]}", {})[int(copy[2])] = value
        else:
            result[name] = value.flatten(1) if name == "head.fuse.weight" else value
    for name, by_modality in copies.items():
        result[name] = torch.stack([by_modality[index] for index in range(len(by_modality))])
    return result


def _our_name(published: str) -> str:
    if published == "alpha":
        return published
    if published == "encoder.patch_embed1.mask_token":
        return "encoder.mask_token"
    if published.startswith("decoder."):
        inner = published.removeprefix("decoder.")
        for theirs, ours in _HEAD_NAMES.items():
            if inner.startswith(theirs):
                return f"head.{ours}{inner.removeprefix(theirs)}"
    if name := encoder_name(published.removeprefix("encoder."), LAYOUTS["original"]):
        return f"encoder.{name}"
    raise ValueError(f"unknown name '{published}'")


def _config_of(state: dict[str, Tensor], heads: tuple[int, int, int, int]) -> NetworkConfig:
    stages = (1, 2, 3, 4)
    projections = [state[f"encoder.patch_embed{stage}.proj.module.weight"] for stage in stages]
    depths = [len({n.split(".")[2] for n in state if n.startswith(f"encoder.block{stage}.")}) for stage in stages]
    reductions = [state.get(f"encoder.block{stage}.0.attn.sr.module.weight") for stage in stages]
    widths = [len(projection) for projection in projections]
    encoder = MixTransformerConfig.model_validate(
        {
            "widths": widths,
            "depths": depths,
            "heads": heads,
            "reductions": [1 if kernel is None else kernel.shape[-1] for kernel in reductions],
            "mlp_ratios": [
                len(state[f"encoder.block{stage}.0.mlp.fc1.module.weight"]) // width
                for stage, width in zip(stages, widths, strict=True)
            ],
        }
    )
    head_width, _ = state["decoder.linear_c1.proj.weight"].shape
    return NetworkConfig(
        encoder=encoder,
        num_modalities=len(state["alpha"]),
        num_classes=len(state["decoder.linear_pred.weight"]),
        head_width=head_width,
        missing_stream_weight=1.0,
    )
