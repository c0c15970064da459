"""The sections of a training recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from m3l_core.trainer.method import Method, Range, Share, Strict

Positive = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0)]
_CropSide = Annotated[int, Field(ge=32)]
_Factor = Annotated[float, Field(gt=0)]


class DataSet(Strict):
    """Index files of one set, and what part it has in the training."""

    name: str = ""
    """Of several sets; its root, if it is not given."""
    root: str = ""
    """Folder of the index files, relative to the data folder given on the command line."""
    labelled: str | None = None
    unlabelled: str | None = None
    validation: str | None = None
    share: Annotated[float, Field(gt=0)] = 1.0
    """Part of each batch that is drawn from this set, relative to the others' shares."""
    class_map: dict[str, str | None] | None = None
    """From every class of the set, in the order of its ids, to one of ``labels``, or to null, which is ignored; None:
    the set has the recipe's classes."""
    label_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the recordings in ``labelled`` that keep their labels; the frames of the others join ``unlabelled``."""
    label_seed: Seed = 0
    """Draws those recordings."""

    @property
    def title(self) -> str:
        """What the set is called."""
        return self.name or self.root


class Phase(Strict):
    """A part of the training with its own view of the images."""

    iterations: Positive
    batch: Positive
    """Labelled frames of an iteration; where pseudo labels are used, as many unlabelled frames come along."""
    crop: tuple[_CropSide, _CropSide]
    """(H, W) of what the network sees."""
    scale: Annotated[tuple[_Factor, _Factor], Range]
    """Images are scaled by a factor drawn from this range, then cropped or padded; at 1 they have the height of the
    network's input, as they have on the robot, whatever their size on disk."""


class Augmentation(Strict):
    """Disturbances; geometry is shared by the modalities and the labels."""

    flip: Share = 0.5
    color_jitter: Share = 0.4
    """Largest relative change of brightness, contrast and saturation."""
    depth_jitter: Share = 0.1
    """Largest relative change of depth."""
    depth_sensor: Annotated[float, Field(ge=0, le=2)] = 0.0
    """How much of a depth camera's holes, noise and edges is added to depth that has no holes, as rendered and
    in-painted depth; 1 is as much as a RealSense has, 0 none."""
    failing_sensor: Share = 0.0
    """Share of the images that the student sees as a failing sensor gives them, each sensor for itself: values missing,
    or noise. Teachers see them as they are."""


class Optimizer(Strict):
    """AdamW with linear warm-up, then polynomial decay to 0."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    head_factor: Annotated[float, Field(gt=0)] = 1.0
    """The head's learning rate, relative to the encoder's."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup_iterations: Annotated[int, Field(ge=0)] = 200
    power: Annotated[float, Field(gt=0)] = 0.9
    gradient_clip: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of all gradients together."""


class SubsetNetworks(Strict):
    """Networks of their own for the sensors that are left, trained after the full one.

    Each starts from the full network's weights and is taught, by labels and by what the full network makes of all
    sensors, to do with its own. Everything that is not named here is as for the full network.
    """

    subsets: Annotated[tuple[Annotated[tuple[str, ...], Field(min_length=1)], ...], Field(min_length=1)]
    """The modalities of each; fewer than all."""
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]
    optimizer: Optimizer = Optimizer()
    augmentation: Augmentation | None = None
    """None: as for the full network. A sensor that is alone has nothing to lean on where it fails."""
    method: Method = Method(pseudo_labels="full", pseudo_weight=0.0, distillation_weight=1.0, confidence="weight")
    ohem_threshold: Share = 1.0
