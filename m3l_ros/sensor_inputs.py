"""What the inputs of the node are called: a topic, a parameter for its transport and one for its stamps each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from m3l_core.errors import BundleError
from m3l_core.frames import ImageKind

TRANSPORTS: dict[ImageKind, tuple[str, ...]] = {
    "color": ("raw", "compressed"),
    "depth": ("raw", "compressed", "compressedDepth"),
    "height": ("raw", "compressed", "compressedDepth"),
    "intensity": ("raw", "compressed"),
}
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")


def input_topic(modality: str) -> str:
    """Relative and without its transport; rectified depth has the name that image_pipeline gives it."""
    return "depth/image_rect" if modality == "depth" else f"{modality}/image_raw"


def leading_topic(kinds: Mapping[str, ImageKind]) -> str:
    """Relative: of the camera that all images are registered to, which is depth's where the bundle has no color."""
    depths = [name for name, kind in kinds.items() if kind == "depth"]
    return input_topic("color" if "color" in kinds or not depths else depths[0])


def transport_parameter(modality: str) -> str:
    """As image_transport calls it; color's has no prefix."""
    return "image_transport" if modality == "color" else f"{modality}_image_transport"


def offset_parameter(modality: str) -> str:
    return f"stamp_offset.{modality}"


def may_be_of_a_sensor(parameter: str) -> bool:
    """Whether some bundle's sensor could have a parameter of this name."""
    return parameter.startswith("stamp_offset.") or parameter.endswith("_image_transport")


def check_names(modalities: Iterable[str]) -> None:
    """Whether modalities can be topics.

    Raises:
        BundleError: one cannot.
    """
    for name in modalities:
        if not _TOKEN.fullmatch(name) or name == "segmentation":
            raise BundleError(
                f"the bundle calls a modality '{name}', which cannot be a topic of the node: expected letters, digits "
                "and single underscores, beginning with a letter, and not 'segmentation'. Rename it in the bundle's "
                "model.yaml"
            )
