"""What ``model.yaml`` holds of a bundle: all that is known of a trained model but its weights."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from m3l_core.frames import ImageKind
from m3l_core.labels import LabelSet
from m3l_core.metrics import subset_key, subsets
from m3l_core.modalities import InputSide, Modalities
from m3l_core.network_config import NetworkConfig

GraphFile = Literal["model.onnx", "model.int8.onnx"]


class BundleDescription(BaseModel):
    """What ``model.yaml`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    name: str
    network: NetworkConfig
    labels: LabelSet
    modalities: Modalities
    input_height: InputSide
    input_width: InputSide
    weights_sha256: str = ""
    graphs: dict[GraphFile, str] = {}
    """sha256 of each exported graph."""
    graphs_of_weights: str = ""
    """sha256 of the weights that the graphs were exported from; the first releases did not write it."""
    training: dict[str, Any] = {}
    """Provenance: command, data, seed, iterations, licence of the start weights."""
    miou: dict[str, float] = {}
    """Measured mIoU in [0, 1] per subset of the modalities, such as ``color+depth``."""
    temperatures: dict[str, Annotated[float, Field(ge=1e-3, le=1e3)]] = {}
    """What the logits are divided by with each subset of the modalities, so that confidence is the share of labels
    that are right; 1 where none is given."""
    subset_networks: dict[str, str] = {}
    """Subsets of the modalities that have a network of their own, such as ``color``: a bundle in the folder of that
    name. Of each, the sha256 of its weights."""

    @property
    def input_size(self) -> tuple[int, int]:
        """(H, W) of the network's input."""
        return self.input_height, self.input_width

    @property
    def modality_names(self) -> tuple[str, ...]:
        return tuple(modality.name for modality in self.modalities)

    @property
    def image_kinds(self) -> dict[str, ImageKind]:
        """What the images of each modality hold, in the order of the modalities."""
        return {modality.name: modality.kind for modality in self.modalities}

    @model_validator(mode="after")
    def _parts_agree(self) -> BundleDescription:
        if self.network.num_modalities != len(self.modalities):
            raise ValueError(
                f"the network takes {self.network.num_modalities} modalities, {len(self.modalities)} are described"
            )
        if self.network.num_classes != len(self.labels):
            raise ValueError(f"the network has {self.network.num_classes} classes, {len(self.labels)} are named")
        known = {subset_key(names) for names in subsets(self.modality_names)}
        for name in ("miou", "temperatures"):
            if unknown := set(getattr(self, name)) - known:
                raise ValueError(f"{name} names {sorted(unknown)}; the subsets are {sorted(known)}")
        smaller = known - {subset_key(self.modality_names)}
        if unknown := set(self.subset_networks) - smaller:
            raise ValueError(f"subset_networks names {sorted(unknown)}; the smaller subsets are {sorted(smaller)}")
        return self
