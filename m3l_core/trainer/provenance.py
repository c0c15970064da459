"""What a trained network came from: enough to make it again, and on what terms it may be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from m3l_core.datasets.folder import Sample
from m3l_core.model.start_weights import RANDOM, StartWeights
from m3l_core.trainer.data import TrainingData
from m3l_core.trainer.method import Method
from m3l_core.trainer.recipe import Recipe

SUPERVISED = "supervised"
_TEACHERS = {
    "none": SUPERVISED,
    "mean_teacher": "mean teacher",
    "cross": "cross pseudo supervision",
    "full": "taught by the network of all sensors",
}


class SetFrames(BaseModel):
    """What was taken of a data set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Empty where there is only one."""
    share: float
    """Of each batch."""
    labelled: str | None
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
    validation: str | None
    """Index file."""
    validation_frames: int
    class_map: dict[str, str | None] | None
    """From the classes of the set, where they are not those of the network."""

    def index(self, name: str | None) -> str:
        """An index file, with the name of the set where there are several."""
        return f"{self.name}/{name}" if self.name else str(name)

    def labelled_text(self) -> str:
        drawn = f", {self.label_fraction:g} of the recordings, drawn with seed {self.label_seed}"
        share = f", {self.share:.0%} of each batch" if self.name else ""
        return f"{self.labelled_frames} of {self.index(self.labelled)}{drawn if self.label_fraction < 1 else ''}{share}"

    def unlabelled_text(self) -> str:
        lists = " and ".join(self.index(name) for name in (self.labelled, self.unlabelled) if name)
        return f"{self.unlabelled_frames} of {lists}"

    def validation_text(self) -> str:
        return f"{self.validation_frames} of {self.index(self.validation)}"


class LabelTeacher(BaseModel):
    """A model that labelled frames which this one learnt from, or was measured on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    licence: str
    labelled_frames: int
    validation_frames: int

    def text(self) -> str:
        return f"{self.name} ({self.licence}): {self.labelled_frames} labelled, {self.validation_frames} validation"


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
    data: tuple[SetFrames, ...]
    labelled_frames: int
    unlabelled_frames: int
    validation_frames: int
    """Of all sets."""
    start_weights: StartWeights
    teachers: tuple[LabelTeacher, ...] = ()
    """Of the frames that say who labelled them."""

    @classmethod
    def of(
        cls, recipe: Recipe, data: TrainingData, command: str, start_weights: StartWeights | None = None
    ) -> Provenance:
        """Of a training by ``recipe`` on ``data``; ``start_weights`` None: random ones."""
        return cls(
            command=command,
            recipe=recipe.name,
            source=recipe.source,
            seed=recipe.seed,
            iterations=recipe.iterations,
            method=method_names(recipe.method),
            data=_of_sets(recipe, data),
            labelled_frames=len(data.labelled),
            unlabelled_frames=len(data.unlabelled),
            validation_frames=len(data.validation),
            start_weights=start_weights or StartWeights(source=RANDOM, licence="Apache-2.0", commercial=True),
            teachers=_teachers(data),
        )

    def rows(self) -> dict[str, str]:
        """For a table, without the command."""
        unused = ", not used" if self.method[0] == SUPERVISED else ""
        unlabelled = "; ".join(each.unlabelled_text() for each in self.data if each.unlabelled_frames)
        start = self.start_weights
        source = ", ".join(f"{name} {value}" for name, value in self.source.items())
        return {
            **({"data set": source} if source else {}),
            "method": ", ".join(self.method),
            "labelled frames": "; ".join(each.labelled_text() for each in self.data if each.labelled),
            "unlabelled frames": f"{unlabelled}{unused}" if unlabelled else "none",
            "validation frames": "; ".join(each.validation_text() for each in self.data if each.validation),
            **({"labels of": "; ".join(each.text() for each in self.teachers)} if self.teachers else {}),
            "iterations": f"{self.iterations}, seed {self.seed}",
            "start weights": f"{start.source}, {start.licence}",
        }


def _of_sets(recipe: Recipe, data: TrainingData) -> tuple[SetFrames, ...]:
    total = sum(recipe.shares.values())
    return tuple(
        SetFrames(
            name=name,
            share=share / total,
            labelled_frames=_count(data.labelled, name),
            unlabelled_frames=_count(data.unlabelled, name),
            validation_frames=_count(data.validation, name),
            **lists.model_dump(include=SetFrames.model_fields.keys() - {"name", "share"}),
        )
        for (name, share), lists in zip(recipe.shares.items(), recipe.data_sets, strict=True)
    )


def _teachers(data: TrainingData) -> tuple[LabelTeacher, ...]:
    labelled, validation = (Counter(each.teacher for each in part) for part in (data.labelled, data.validation))
    return tuple(
        LabelTeacher(
            name=teacher.name,
            licence=teacher.licence,
            labelled_frames=labelled[teacher],
            validation_frames=validation[teacher],
        )
        for teacher in labelled | validation
        if teacher is not None
    )


def _count(samples: Sequence[Sample], data_set: str) -> int:
    return sum(sample.data_set == data_set for sample in samples)


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
