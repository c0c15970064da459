"""What a trained network came from: enough to make it again, and on what terms it may be used."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from m3l_core.model.start_weights import RANDOM, StartWeights
from m3l_core.trainer.data import TrainingData
from m3l_core.trainer.method import Method
from m3l_core.trainer.recipe import Recipe

SUPERVISED = "supervised"
_TEACHERS = {"none": SUPERVISED, "mean_teacher": "mean teacher", "cross": "cross pseudo supervision"}


class Provenance(BaseModel):
    """What a bundle and a report tell of a training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: str
    recipe: str
    source: dict[str, Any]
    """What an imported data set was made from."""
    seed: int
    iterations: int
    method: tuple[str, ...]
    """Who labels the unlabelled frames, and what is added to that."""
    labelled: str
    """Index file."""
    labelled_frames: int
    label_fraction: float
    """Share of the recordings in ``labelled`` that kept their labels."""
    label_seed: int
    """Drew those recordings."""
    unlabelled: str | None
    """Index file of more frames without labels."""
    unlabelled_frames: int
    """Of both lists; a method without pseudo labels uses none."""
    validation: str
    """Index file."""
    validation_frames: int
    start_weights: StartWeights

    @classmethod
    def of(
        cls, recipe: Recipe, data: TrainingData, command: str, start_weights: StartWeights | None = None
    ) -> Provenance:
        """Of a training by ``recipe`` on ``data``; ``start_weights`` None: random ones."""
        lists = recipe.data
        return cls(
            command=command,
            recipe=recipe.name,
            source=recipe.source,
            seed=recipe.seed,
            iterations=recipe.iterations,
            method=method_names(recipe.method),
            labelled=lists.labelled,
            labelled_frames=len(data.labelled),
            label_fraction=lists.label_fraction,
            label_seed=lists.label_seed,
            unlabelled=lists.unlabelled,
            unlabelled_frames=len(data.unlabelled),
            validation=lists.validation,
            validation_frames=len(data.validation),
            start_weights=start_weights or StartWeights(source=RANDOM, licence="Apache-2.0", commercial=True),
        )

    def rows(self) -> dict[str, str]:
        """For a table, without the command."""
        lists = " and ".join(filter(None, (self.labelled, self.unlabelled)))
        unused = ", not used" if self.method[0] == SUPERVISED else ""
        drawn = (
            f", {self.label_fraction:g} of the recordings, drawn with seed {self.label_seed}"
            if self.label_fraction < 1
            else ""
        )
        start = self.start_weights
        source = ", ".join(f"{name} {value}" for name, value in self.source.items())
        return {
            **({"data set": source} if source else {}),
            "method": ", ".join(self.method),
            "labelled frames": f"{self.labelled_frames} of {self.labelled}{drawn}",
            "unlabelled frames": f"{self.unlabelled_frames} of {lists}{unused}" if self.unlabelled_frames else "none",
            "validation frames": f"{self.validation_frames} of {self.validation}",
            "iterations": f"{self.iterations}, seed {self.seed}",
            "start weights": f"{start.source}, {start.licence}",
        }


def method_names(method: Method) -> tuple[str, ...]:
    """The parts of a method by the names the field has for them; the teacher, or ``supervised``, first."""
    parts = {
        f"pseudo labels above {method.confidence_threshold:g}": method.confidence == "threshold",
        "pseudo labels weighted by confidence": method.confidence == "weight",
        "distillation": method.distillation_weight > 0,
        "modality dropout": method.modality_dropout is not None,
        "partial token masking": method.loses_tokens,
        "strong view": method.strong_view is not None,
        "CutMix": method.cutmix > 0,
        "noise": method.noise > 0,
    }
    return _TEACHERS[method.pseudo_labels], *(name for name, used in parts.items() if used)
