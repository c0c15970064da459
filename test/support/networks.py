"""Tiny networks whose modalities differ, and their weights under the names of public checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from m3l_core.model.network import LinearFusionSegFormer
from m3l_core.model.norms import ModalityLayerNorm
from m3l_core.network_config import EfficientNetConfig, MixTransformerConfig, NetworkConfig

TINY = MixTransformerConfig(widths=(8, 16, 40, 64), depths=(2, 1, 1, 1))
TINY_PVT = MixTransformerConfig(widths=(8, 16, 40, 64), depths=(2, 1, 1, 1), mlp_ratios=(8, 8, 4, 4))

TINY_EFFICIENTNET = EfficientNetConfig(
    kind="efficientnet_lite",
    stem_width=8,
    group_widths=(8, 8, 8, 16, 16, 24, 32),
    group_depths=(1, 2, 1, 1, 1, 2, 1),
    expansion=2,
)


def tiny_network(num_modalities: int = 2, drop: float = 0.1, seed: int = 3, **settings: Any) -> LinearFusionSegFormer:
    """In eval mode; norms and ensemble weights tell the modalities apart, and no bias is zero."""
    settings = {"encoder": TINY, "num_classes": 5, "head_width": 16} | settings
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        config = NetworkConfig(num_modalities=num_modalities, **settings)
        network = LinearFusionSegFormer(config, drop_path=drop, dropout=drop)
        for name, parameter in network.named_parameters():
            if "norm" in name or parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
    return network.eval()


ORIGINAL = {
    "embedding": "patch_embed{n}.proj",
    "embedding norm": "patch_embed{n}.norm",
    "norm 1": "block{n}.{b}.norm1",
    "query": "block{n}.{b}.attn.q",
    "key and value": "block{n}.{b}.attn.kv",
    "reduction": "block{n}.{b}.attn.sr",
    "reduction norm": "block{n}.{b}.attn.norm",
    "projection": "block{n}.{b}.attn.proj",
    "norm 2": "block{n}.{b}.norm2",
    "expand": "block{n}.{b}.mlp.fc1",
    "depthwise": "block{n}.{b}.mlp.dwconv.dwconv",
    "contract": "block{n}.{b}.mlp.fc2",
    "norm": "norm{n}",
}
TIMM = {
    "embedding": "stages.{s}.downsample.proj",
    "embedding norm": "stages.{s}.downsample.norm",
    "norm 1": "stages.{s}.blocks.{b}.norm1",
    "query": "stages.{s}.blocks.{b}.attn.q",
    "key and value": "stages.{s}.blocks.{b}.attn.kv",
    "reduction": "stages.{s}.blocks.{b}.attn.sr",
    "reduction norm": "stages.{s}.blocks.{b}.attn.norm",
    "projection": "stages.{s}.blocks.{b}.attn.proj",
    "norm 2": "stages.{s}.blocks.{b}.norm2",
    "expand": "stages.{s}.blocks.{b}.mlp.fc1",
    "depthwise": "stages.{s}.blocks.{b}.mlp.dwconv",
    "contract": "stages.{s}.blocks.{b}.mlp.fc2",
    "norm": "stages.{s}.norm",
}
HUGGING_FACE = {
    "embedding": "segformer.encoder.patch_embeddings.{s}.proj",
    "embedding norm": "segformer.encoder.patch_embeddings.{s}.layer_norm",
    "norm 1": "segformer.encoder.block.{s}.{b}.layer_norm_1",
    "query": "segformer.encoder.block.{s}.{b}.attention.self.query",
    "key": "segformer.encoder.block.{s}.{b}.attention.self.key",
    "value": "segformer.encoder.block.{s}.{b}.attention.self.value",
    "reduction": "segformer.encoder.block.{s}.{b}.attention.self.sr",
    "reduction norm": "segformer.encoder.block.{s}.{b}.attention.self.layer_norm",
    "projection": "segformer.encoder.block.{s}.{b}.attention.output.dense",
    "norm 2": "segformer.encoder.block.{s}.{b}.layer_norm_2",
    "expand": "segformer.encoder.block.{s}.{b}.mlp.dense1",
    "depthwise": "segformer.encoder.block.{s}.{b}.mlp.dwconv.dwconv",
    "contract": "segformer.encoder.block.{s}.{b}.mlp.dense2",
    "norm": "segformer.encoder.layer_norm.{s}",
}


def public_encoder(network: LinearFusionSegFormer, names: dict[str, str]) -> dict[str, Tensor]:
    """The encoder with the norms of its first modality, under the names of a public layout."""
    tensors = {}
    for role, place, module in _modules(network):
        for kind, parameter in module.named_parameters():
            value = parameter.detach()[0] if isinstance(module, ModalityLayerNorm) else parameter.detach()
            if role == "key and value" and role not in names:
                for half, part in zip(("key", "value"), value.chunk(2), strict=True):
                    tensors[f"{names[half].format(**place)}.{kind}"] = part
            else:
                tensors[f"{names[role].format(**place)}.{kind}"] = value
    # timm calls the first stage's embedding otherwise.
    return {name.replace("stages.0.downsample", "patch_embed"): value.clone() for name, value in tensors.items()}


def published_m3l(network: LinearFusionSegFormer) -> dict[str, Tensor]:
    """The network as M3L's authors write it."""
    state = {"alpha": network.alpha.detach(), "encoder.patch_embed1.mask_token": network.encoder.mask_token.detach()}
    for role, place, module in _modules(network):
        name = f"encoder.{ORIGINAL[role].format(**place)}"
        for kind, parameter in module.named_parameters():
            if isinstance(module, ModalityLayerNorm):
                state |= {f"{name}.ln_{index}.{kind}": copy for index, copy in enumerate(parameter.detach())}
            else:
                state[f"{name}.module.{kind}"] = parameter.detach()
    head = network.head
    parts: dict[str, nn.Module] = {"linear_pred": head.classify, "linear_fuse.bn": head.norm}
    parts |= {f"linear_c{index}.proj": linear for index, linear in enumerate(head.stage_linears, start=1)}
    state |= {f"decoder.{name}.{kind}": v for name, part in parts.items() for kind, v in part.state_dict().items()}
    state["decoder.linear_fuse.conv.weight"] = head.fuse.weight.detach()[:, :, None, None]
    return {name: value.clone() for name, value in state.items()}


def _modules(network: LinearFusionSegFormer) -> Iterator[tuple[str, dict[str, int], nn.Module]]:
    """(role, place, module) of everything in the encoder that has weights of its own."""
    for index, stage in enumerate(network.encoder.stages):
        place = {"s": index, "n": index + 1}
        yield "embedding", place, stage.embedding.projection
        yield "embedding norm", place, stage.embedding.norm
        for number, block in enumerate(stage.blocks):
            attention, feed_forward = block.attention, block.feed_forward
            modules = {
                "norm 1": block.attention_norm,
                "query": attention.query,
                "key and value": attention.key_value,
                "reduction": attention.reduction,
                "reduction norm": attention.norm,
                "projection": attention.projection,
                "norm 2": block.feed_forward_norm,
                "expand": feed_forward.expand,
                "depthwise": feed_forward.depthwise,
                "contract": feed_forward.contract,
            }
            yield from ((role, place | {"b": number}, module) for role, module in modules.items() if module is not None)
        yield "norm", place, stage.norm
