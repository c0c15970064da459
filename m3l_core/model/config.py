"""The shape of a network, as it is written into a bundle. Importable without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

FourInts = tuple[int, int, int, int]
EncoderName = Literal["mit_b0", "mit_b1", "mit_b2", "mit_b3", "mit_b4", "mit_b5"]


class EncoderConfig(BaseModel):
    """A Mix Transformer: four stages at 1/4, 1/8, 1/16 and 1/32 of the input (SegFormer, arXiv 2105.15203)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: FourInts
    depths: FourInts
    heads: FourInts = (1, 2, 5, 8)
    reductions: FourInts = (8, 4, 2, 1)
    """Spatial reduction of keys and values in each stage's attention."""
    mlp_ratio: int = 4

    @model_validator(mode="after")
    def _heads_divide_widths(self) -> EncoderConfig:
        for width, heads in zip(self.widths, self.heads, strict=True):
            if width % heads:
                raise ValueError(f"each width must be a multiple of its heads, got {width} and {heads}")
        return self


_WIDE = (64, 128, 320, 512)
ENCODERS: dict[EncoderName, EncoderConfig] = {
    "mit_b0": EncoderConfig(widths=(32, 64, 160, 256), depths=(2, 2, 2, 2)),
    "mit_b1": EncoderConfig(widths=_WIDE, depths=(2, 2, 2, 2)),
    "mit_b2": EncoderConfig(widths=_WIDE, depths=(3, 4, 6, 3)),
    "mit_b3": EncoderConfig(widths=_WIDE, depths=(3, 4, 18, 3)),
    "mit_b4": EncoderConfig(widths=_WIDE, depths=(3, 8, 27, 3)),
    "mit_b5": EncoderConfig(widths=_WIDE, depths=(3, 6, 40, 3)),
}


class NetworkConfig(BaseModel):
    """A Linear Fusion SegFormer (M3L, arXiv 2304.10756, section 3.1)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: EncoderName | EncoderConfig = "mit_b0"
    num_modalities: Annotated[int, Field(ge=1, le=4)] = 2
    num_classes: Annotated[int, Field(ge=2, le=255)]
    head_width: Annotated[int, Field(ge=1)] = 256
    fusion_ratio: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Share of its own features that a stream keeps in each fusion."""
    missing_stream_weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Weight of a missing modality's stream in the ensemble, relative to a present one; the paper has 1."""

    @property
    def encoder_config(self) -> EncoderConfig:
        return ENCODERS[self.encoder] if isinstance(self.encoder, str) else self.encoder
