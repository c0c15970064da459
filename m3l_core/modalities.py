"""What a modality measures and how its pixels become network input.

The settings travel in the bundle, so the robot prepares images exactly as training did.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Channel3 = tuple[float, float, float]
IMAGENET_MEAN: Channel3 = (0.485, 0.456, 0.406)
IMAGENET_STD: Channel3 = (0.229, 0.224, 0.225)


_LONGEST_NAME = 60


def _is_a_name(name: str) -> str:
    if (
        not name.strip()
        or not name.isprintable()
        or len(name) > _LONGEST_NAME
        or name[0] == "."
        or set(name) & set("/\\+")
    ):
        raise ValueError(
            f"a modality is called {name!r:.60}: expected up to {_LONGEST_NAME} characters that can be the name of a "
            "folder, in one line, without +"
        )
    return name


Name = Annotated[str, AfterValidator(_is_a_name)]
"""Of a modality; names joined by + name a subset, and the folder of its network."""
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Spread = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ColorModality(BaseModel):
    """(H, W, 3) uint8 RGB, scaled to [0, 1], minus mean, over std.

    ``photometric`` says that it is a photograph, which training disturbs as a camera does. Not so where the channels
    measure something else, such as the height and angle of HHA, or radar: another exposure would be another scene.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["color"] = "color"
    name: Name = "color"
    mean: tuple[_Finite, _Finite, _Finite] = IMAGENET_MEAN
    std: tuple[_Spread, _Spread, _Spread] = IMAGENET_STD
    photometric: bool = True


class DepthModality(BaseModel):
    """(H, W) depth along the optical axis.

    ``metric`` clips to [near_m, far_m] and gives three channels: depth scaled to [-1, 1], inverse depth
    scaled to [-1, 1], and validity (1 or 0); an invalid pixel is 0 in all three.
    ``geometry`` gives log depth over [near_m, far_m], the height above the lowest surface in sight over 3 m, both
    scaled to [-1, 1], and the cosine between the surface's normal and up; an invalid pixel is 0 in all three.
    ``min_max`` is the paper's: each frame scaled to [0, 1] by its own extremes, three times the same;
    a frame without contrast gives zeros.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["depth"] = "depth"
    name: Name = "depth"
    normalization: Literal["metric", "geometry", "min_max"] = "metric"
    near_m: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.3
    far_m: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 8.0
    horizontal_fov_deg: Annotated[float, Field(gt=0, lt=170)] = 62.0
    """Of the whole image, for ``geometry``, where the camera's own is not known: about what a Kinect has."""

    @model_validator(mode="after")
    def _near_before_far(self) -> DepthModality:
        if self.near_m >= self.far_m:
            raise ValueError(f"near_m must be below far_m, got {self.near_m} and {self.far_m}")
        return self


class HeightModality(BaseModel):
    """(H, W) height of the surface seen from above, in metres: a digital surface model (DSM).

    Heights may be 0 or negative. What counts is the height above the lowest valid pixel of the frame, clipped to
    [0, max_m]; its three channels are that height scaled to [-1, 1], its log(1 + h) scaled to [-1, 1], and validity
    (1 or 0); an invalid pixel is 0 in all three.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["height"] = "height"
    name: Name = "height"
    max_m: Annotated[float, Field(ge=0.1, le=10_000)] = 40.0


class IntensityModality(BaseModel):
    """(H, W) uint8 or uint16 of one channel: a thermal, near infrared or polarisation camera.

    ``range`` clips to [low, high], in the image's own counts, and scales to [-1, 1]: for a calibrated sensor, where a
    count is a temperature. ``percentile`` does so with the 1st and 99th percentile of each frame, as the automatic gain
    of a thermal camera does; a frame without contrast gives zeros. All three channels are the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["intensity"] = "intensity"
    name: Name = "thermal"
    normalization: Literal["range", "percentile"] = "percentile"
    low: Annotated[float, Field(ge=0, le=65535)] = 0.0
    high: Annotated[float, Field(ge=0, le=65535)] = 255.0

    @model_validator(mode="after")
    def _low_before_high(self) -> IntensityModality:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        return self


Modality = Annotated[ColorModality | DepthModality | HeightModality | IntensityModality, Field(discriminator="kind")]


def _names_differ(modalities: tuple[Modality, ...]) -> tuple[Modality, ...]:
    names = [modality.name for modality in modalities]
    if len(set(names)) != len(names):
        raise ValueError(f"modality names must differ, got {names}")
    return modalities


Modalities = Annotated[tuple[Modality, ...], Field(min_length=1, max_length=4), AfterValidator(_names_differ)]
InputSide = Annotated[int, Field(ge=64, le=4096)]
"""Height or width of a network's input in pixels."""
