"""The shape of a network, as it is written into a bundle. Importable without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_MOST_WEIGHTS = 1_000_000_000
"""More than ten times those of the largest that there is."""
_Positive = Annotated[int, Field(gt=0)]
FourInts = tuple[_Positive, _Positive, _Positive, _Positive]
SevenInts = tuple[_Positive, _Positive, _Positive, _Positive, _Positive, _Positive, _Positive]
EncoderName = Literal[
    "mit_b0",
    "mit_b1",
    "mit_b2",
    "mit_b3",
    "mit_b4",
    "mit_b5",
    "pvt_v2_b0",
    "pvt_v2_b1",
    "pvt_v2_b2",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
]


class MixTransformerConfig(BaseModel):
    """Four stages at 1/4, 1/8, 1/16 and 1/32 of the input.

    A Mix Transformer (SegFormer, arXiv 2105.15203) or a PVT v2 (arXiv 2106.13797), which differ in these numbers only.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: FourInts
    depths: FourInts
    heads: FourInts = (1, 2, 5, 8)
    reductions: FourInts = (8, 4, 2, 1)
    """Spatial reduction of keys and values in each stage's attention."""
    mlp_ratios: FourInts = (4, 4, 4, 4)
    """Width of each stage's feed-forward layer, relative to the stage's."""

    @model_validator(mode="after")
    def _some_machine_runs_it(self) -> MixTransformerConfig:
        stages = zip(self.depths, self.widths, self.mlp_ratios, self.reductions, strict=True)
        _check_weights(sum(depth * width**2 * (4 + 2 * ratio + side**2) for depth, width, ratio, side in stages))
        return self

    @model_validator(mode="after")
    def _heads_divide_widths(self) -> MixTransformerConfig:
        for width, heads in zip(self.widths, self.heads, strict=True):
            if width % heads:
                raise ValueError(f"each width must be a multiple of its heads, got {width} and {heads}")
        return self

    @property
    def grid_widths(self) -> FourInts:
        """Channels of the token grids at 1/4, 1/8, 1/16 and 1/32 of the input."""
        return self.widths


class EfficientNetConfig(BaseModel):
    """An EfficientNet-lite (arXiv 1905.11946; lite: ReLU6, no squeeze-and-excitation).

    Seven groups of inverted residuals behind a stem that halves the input; the second, third, fourth and sixth halve it
    again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["efficientnet_lite"]
    stem_width: _Positive = 32
    group_widths: SevenInts = (16, 24, 40, 80, 112, 192, 320)
    group_depths: SevenInts = (1, 2, 2, 3, 3, 4, 1)
    expansion: _Positive = 6
    """Width inside a block, relative to what enters it; the first group has 1."""

    @model_validator(mode="after")
    def _some_machine_runs_it(self) -> EfficientNetConfig:
        groups = zip(self.group_depths, self.group_widths, strict=True)
        _check_weights(27 * self.stem_width + sum(depth * 2 * self.expansion * width**2 for depth, width in groups))
        return self

    @property
    def grid_widths(self) -> FourInts:
        """Channels of the token grids at 1/4, 1/8, 1/16 and 1/32 of the input."""
        widths = self.group_widths
        return widths[1], widths[2], widths[4], widths[6]


def _check_weights(number: int) -> None:
    if number > _MOST_WEIGHTS:
        raise ValueError(f"its stages have {number:.1e} weights, expected {_MOST_WEIGHTS:.0e} at most")


_NARROW = (32, 64, 160, 256)
_WIDE = (64, 128, 320, 512)
_PVT_RATIOS = (8, 8, 4, 4)
_LITE: Literal["efficientnet_lite"] = "efficientnet_lite"
_LITE_DEPTHS = (1, 3, 3, 4, 4, 5, 1)
ENCODERS: dict[EncoderName, MixTransformerConfig | EfficientNetConfig] = {
    "mit_b0": MixTransformerConfig(widths=_NARROW, depths=(2, 2, 2, 2)),
    "mit_b1": MixTransformerConfig(widths=_WIDE, depths=(2, 2, 2, 2)),
    "mit_b2": MixTransformerConfig(widths=_WIDE, depths=(3, 4, 6, 3)),
    "mit_b3": MixTransformerConfig(widths=_WIDE, depths=(3, 4, 18, 3)),
    "mit_b4": MixTransformerConfig(widths=_WIDE, depths=(3, 8, 27, 3)),
    "mit_b5": MixTransformerConfig(widths=_WIDE, depths=(3, 6, 40, 3)),
    "pvt_v2_b0": MixTransformerConfig(widths=_NARROW, depths=(2, 2, 2, 2), mlp_ratios=_PVT_RATIOS),
    "pvt_v2_b1": MixTransformerConfig(widths=_WIDE, depths=(2, 2, 2, 2), mlp_ratios=_PVT_RATIOS),
    "pvt_v2_b2": MixTransformerConfig(widths=_WIDE, depths=(3, 4, 6, 3), mlp_ratios=_PVT_RATIOS),
    "efficientnet_lite0": EfficientNetConfig(kind=_LITE),
    "efficientnet_lite1": EfficientNetConfig(kind=_LITE, group_depths=_LITE_DEPTHS),
    "efficientnet_lite2": EfficientNetConfig(
        kind=_LITE, group_widths=(16, 24, 48, 88, 120, 208, 352), group_depths=_LITE_DEPTHS
    ),
}


def _known(encoder: object) -> object:
    if isinstance(encoder, str) and encoder not in ENCODERS:
        raise ValueError(
            f"unknown encoder '{encoder[:60]}', expected {', '.join(ENCODERS)}, or widths and depths of its own"
        )
    return encoder


Encoder = Annotated[EncoderName | MixTransformerConfig | EfficientNetConfig, BeforeValidator(_known)]


class NetworkConfig(BaseModel):
    """A Linear Fusion network (M3L, arXiv 2304.10756, section 3.1), whose encoder may be another than SegFormer's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: Encoder = "mit_b0"
    num_modalities: Annotated[int, Field(ge=1, le=4)] = 2
    num_classes: Annotated[int, Field(ge=2, le=255)]
    head_width: Annotated[int, Field(ge=1, le=8192)] = 256
    fusion_ratio: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Share of its own features that a stream keeps in each fusion."""
    head: Literal["streams", "joint"] = "streams"
    """One copy of the head on each stream, whose logits are averaged (the paper), or one that takes in all streams."""
    missing: Literal["mask_token", "no_stream"] = "mask_token"
    """A missing modality's stream starts from the learnt mask token (the paper), or is left out of everything."""
    missing_stream_weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Weight of a missing modality's stream in the ensemble, relative to a present one; the paper has 1."""

    @model_validator(mode="after")
    def _no_stream_has_no_weight(self) -> NetworkConfig:
        if self.missing == "no_stream" and self.missing_stream_weight:
            raise ValueError(
                f"with missing 'no_stream' there is no stream that missing_stream_weight {self.missing_stream_weight} "
                "could count: set it to 0, or missing to 'mask_token'"
            )
        return self

    @model_validator(mode="after")
    def _joint_head_has_all_streams(self) -> NetworkConfig:
        if self.head == "joint" and self.missing == "no_stream":
            raise ValueError("a joint head takes in all streams: set missing to 'mask_token', or head to 'streams'")
        return self

    @property
    def encoder_config(self) -> MixTransformerConfig | EfficientNetConfig:
        return ENCODERS[self.encoder] if isinstance(self.encoder, str) else self.encoder
