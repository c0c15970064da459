"""How a network is taught: supervised, by a mean teacher, by a second student, with or without missing sensors.

Every published method is a choice of these options, and each option can be measured on its own.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from m3l_core.trainer.disturbances import StrongView

Share = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]


def _rises(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"expected a range, the lower limit first, got {list(limits)}")
    return limits


Range = AfterValidator(_rises)
"""Of a pair of numbers."""


class Strict(BaseModel):
    """Settings that cannot change, where an unknown key and an infinite number are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModalityDropout(Strict):
    """Which sensors the student loses; never all that a sample has."""

    draw: Literal["one", "independent"] = "one"
    """``one``: a sample loses at most one modality, drawn evenly (M3L, section 3.2); ``independent``: each for
    itself."""
    probability: Share | dict[str, Share] = 2 / 3
    """``one``: share of the samples that lose a modality; 2/3 is the paper's even choice of color, depth, none.
    ``independent``: of each modality, or a mapping, so that the weaker modality can be practised more."""
    on_labelled: bool = True
    """Labelled samples lose modalities as well; else only the pseudo labels teach how to do without."""
    partial: Share = 0.0
    """Share of the lost modalities that lose only some of their tokens, as a sensor does that fails in part."""
    partial_ratio: Annotated[tuple[Share, Share], Range] = (0.25, 1.0)
    """How much of its tokens such a modality loses."""


class Method(Strict):
    """One way to teach. The defaults are supervised training."""

    pseudo_labels: Literal["none", "mean_teacher", "cross", "full"] = "none"
    """Who labels the unlabelled frames: nobody, the average of the student over time (mean teacher,
    arXiv 1703.01780), a second student that learns beside it (cross pseudo supervision, arXiv 2106.01226), or, for a
    subset of the sensors, the frozen network of all of them."""
    pseudo_weight: NonNegative = 1.0
    """Of the pseudo labels' loss beside the labels'."""
    pseudo_ramp_iterations: Annotated[int, Field(ge=0)] = 0
    """The pseudo labels' weight rises linearly over so many iterations: a young teacher knows little."""
    pseudo_on_labelled: bool = True
    """Labelled frames are taught by pseudo labels as well."""
    teacher_mode: Literal["eval", "train"] = "eval"
    """``train`` leaves dropout and batch statistics on while the teacher labels, as published."""
    teacher_flip: bool = False
    """The teacher labels by the mean of what it says of a view and of its mirror image."""
    valid_mask: bool = True
    """No pseudo label outside the image, where a view is padded."""
    confidence: Literal["none", "threshold", "weight"] = "none"
    """Which pseudo labels count: all; those above ``confidence_threshold``; each by its probability."""
    confidence_threshold: Share = 0.8
    clean_labelled_copy: bool = False
    """The student sees each labelled sample twice, with every sensor and with missing ones (M3L, section 3.2)."""
    modality_dropout: ModalityDropout | None = None
    strong_view: StrongView | None = None
    """Disturbs what the student sees of unlabelled frames, and not what the teacher labels."""
    cutmix: Share = 0.0
    """Share of the unlabelled samples with a rectangle of their neighbour in the batch: images, pseudo labels and
    validity alike (arXiv 1905.04899); where both have the same sensors."""
    noise: Share = 0.0
    """Share of the student's unlabelled samples with noise on every modality: Gaussian, salt and pepper."""
    distillation_weight: NonNegative = 0.0
    """Of the divergence from the teacher's probabilities, which it gives with every sensor (arXiv 1503.02531); each
    pixel counts as for pseudo labels, by ``confidence``."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Softens both sides of that divergence."""
    ensemble: Literal["availability", "equal"] = "availability"
    """How streams add up: learnt weights, none for a missing modality's; or all the same, as published."""

    @model_validator(mode="after")
    def _somebody_teaches(self) -> Method:
        needing = {
            "strong_view": self.strong_view,
            "cutmix": self.cutmix,
            "noise": self.noise,
            "distillation_weight": self.distillation_weight,
            "pseudo_ramp_iterations": self.pseudo_ramp_iterations,
            "teacher_flip": self.teacher_flip,
            "teacher_mode": self.teacher_mode == "train",
            "confidence": self.confidence != "none",
            "modality_dropout.on_labelled": self.modality_dropout is not None and not self.modality_dropout.on_labelled,
        }
        if self.pseudo_labels == "none" and (idle := [name for name, value in needing.items() if value]):
            raise ValueError(f"{', '.join(idle)} would do nothing without pseudo_labels: mean_teacher or cross")
        return self

    @property
    def loses_tokens(self) -> bool:
        """Some modalities lose only a part of their tokens."""
        return self.modality_dropout is not None and self.modality_dropout.partial > 0
