"""Which classes are labelled, and with which sensors: what the user names, or what lies nearest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from m3l_core.annotation.frame_list import root_of
from m3l_core.bundle import BundleDescription
from m3l_core.errors import DatasetError
from m3l_core.inspection.inspection import load_task
from m3l_core.labels import LabelSet
from m3l_core.modalities import Modality
from m3l_core.published.importing import LABELS_FILE
from m3l_core.trainer.recipe import Recipe


@dataclass(frozen=True, slots=True)
class LabelTask:
    """What frames are labelled with."""

    labels: LabelSet
    modalities: tuple[Modality, ...]


def label_task(data: Path, labels_file: Path | None, description: BundleDescription | None) -> LabelTask:
    """Classes and modalities of ``labels_file``, else of the labels.yaml in the data's folder, else of the bundle.

    Raises:
        DatasetError: there is none of these, or the file has no classes.
    """
    beside = root_of(data) / LABELS_FILE
    file = labels_file or (beside if beside.is_file() else None)
    if file is not None:
        return LabelTask(read_labels(file), load_task(file, Recipe.model_fields).modalities)
    if description is not None:
        return LabelTask(description.labels, description.modalities)
    raise DatasetError(f"there are no classes to label with: give --labels, or put them in {beside}")


def read_labels(file: Path) -> LabelSet:
    """The classes of a labels.yaml.

    Raises:
        DatasetError: it cannot be read, or has no classes.
    """
    labels = load_task(file, Recipe.model_fields).labels
    if labels is None:
        raise DatasetError(f"{file} has no labels: expected the classes as a recipe has them")
    return labels
