"""The lists of samples that a recipe names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from m3l_core.datasets.folder import Sample, read_index
from m3l_core.datasets.splits import split_by_recording
from m3l_core.errors import DatasetError
from m3l_core.trainer.recipe import Recipe


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a network learns from and what it is measured on."""

    labelled: Sequence[Sample]
    unlabelled: Sequence[Sample]
    validation: Sequence[Sample]
    folder: Path = Path()
    """That of the lists."""

    def sha256(self) -> dict[str, str]:
        """Of each list: which files in which order, wherever the folder lies, and what the labels hold.

        Of the images, which would take long to read, the size counts.

        Raises:
            DatasetError: a file is not there.
        """
        return {name: self._sha256(getattr(self, name)) for name in ("labelled", "unlabelled", "validation")}

    def _sha256(self, samples: Sequence[Sample]) -> str:
        def relative(path: Path | None) -> str:
            return str(path).removeprefix(str(self.folder))

        try:
            entries = [
                [
                    sample.recording,
                    relative(sample.label),
                    None if sample.label is None else hashlib.sha256(sample.label.read_bytes()).hexdigest(),
                    {name: [relative(path), path.stat().st_size] for name, path in sample.images.items()},
                ]
                for sample in samples
            ]
        except OSError as error:
            raise DatasetError(f"the data cannot be read: {error}; training/check_dataset.py finds all") from error
        return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def read_data(recipe: Recipe, folder: Path) -> TrainingData:
    """Read the lists and draw the recordings that keep their labels.

    Raises:
        DatasetError: a list is unusable, a recording is in training and in validation, or the method has nothing to
            give pseudo labels to.
    """
    lists = recipe.data

    def read(name: str) -> list[Sample]:
        return read_index(folder / name, recipe.modality_names)

    training, validation = read(lists.labelled), read(lists.validation)
    labelled, unlabelled = split_by_recording(training, lists.label_fraction, lists.label_seed)
    # Frames of a labelled recording that nobody has labelled.
    unlabelled += [sample for sample in labelled if sample.label is None]
    labelled = [sample for sample in labelled if sample.label is not None]
    if lists.unlabelled is not None:
        unlabelled += [replace(sample, label=None) for sample in read(lists.unlabelled)]
    if not labelled:
        raise DatasetError(f"{folder / lists.labelled}: no frame of the drawn recordings has a label")
    if recipe.method.pseudo_labels != "none" and not unlabelled:
        raise DatasetError(
            f"{recipe.name} teaches by pseudo labels, and {folder / lists.labelled} has no frame without a label: set "
            "data.label_fraction below 1, name a list in data.unlabelled, or take the recipe paper_supervised_dropout"
        )
    if without := [sample for sample in validation if sample.label is None]:
        raise DatasetError(f"{folder / lists.validation}: {len(without)} frames have no label to measure against")
    known = {sample.recording for sample in (*labelled, *unlabelled)}
    if shared := sorted(known & {sample.recording for sample in validation}):
        raise DatasetError(
            f"{folder / lists.validation} shares recordings with the training ({', '.join(shared[:5])}): "
            "split by recording, else validation measures what was learnt by heart"
        )
    return TrainingData(labelled, unlabelled, validation, folder)
