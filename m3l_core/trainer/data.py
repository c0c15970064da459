"""The lists of samples that a recipe names."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from m3l_core.datasets.class_map import ClassMap
from m3l_core.datasets.folder import Sample, read_index
from m3l_core.datasets.splits import split_by_recording
from m3l_core.errors import DatasetError
from m3l_core.modalities import DepthModality
from m3l_core.trainer.recipe import Recipe
from m3l_core.trainer.settings import DataSet

logger = logging.getLogger(__name__)


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
                    *([] if sample.fx is None else [sample.fx]),
                ]
                for sample in samples
            ]
        except OSError as error:
            raise DatasetError(f"the data cannot be read: {error}; training/check_dataset.py finds all") from error
        return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def read_data(recipe: Recipe, folder: Path, anywhere: bool = False) -> TrainingData:
    """Read the lists of every set and draw the recordings that keep their labels.

    Files may lie ``anywhere`` if that is said, as ``read_index`` has it.

    Raises:
        DatasetError: a list is unusable, a recording is in training and in validation, or the method has nothing to
            give pseudo labels to.
    """
    sets = [_read_set(recipe, lists, folder, anywhere) for lists in recipe.data_sets]
    labelled, unlabelled, validation = ([sample for each in sets for sample in each[kind]] for kind in range(3))
    if recipe.method.pseudo_labels in ("mean_teacher", "cross") and not unlabelled:
        trained = " and ".join(str(folder / each.root / each.labelled) for each in recipe.data_sets if each.labelled)
        raise DatasetError(
            f"{recipe.name} teaches by pseudo labels, and {trained} has no frame without a label: set "
            "data.label_fraction below 1, name a list in data.unlabelled, or take the recipe paper_supervised_dropout"
        )
    _tell_of_unknown_cameras(recipe, [*labelled, *unlabelled, *validation])
    return TrainingData(labelled, unlabelled, validation, folder)


def _tell_of_unknown_cameras(recipe: Recipe, samples: Sequence[Sample]) -> None:
    """A robot's camera_info says how wide it sees: a network should have learnt from frames that say it, too."""
    for each in recipe.modalities:
        if isinstance(each, DepthModality) and each.normalization == "geometry":
            unknown = sum(sample.fx is None for sample in samples)
            if unknown:
                told = "%d of %d frames have no fx, the focal length: their cameras are taken to see %g degrees"
                logger.info(told, unknown, len(samples), each.horizontal_fov_deg)


def validation_index(recipe: Recipe, folder: Path) -> Path:
    """The first list of frames to validate with."""
    return next(folder / each.root / each.validation for each in recipe.data_sets if each.validation)


def _read_set(
    recipe: Recipe, lists: DataSet, folder: Path, anywhere: bool
) -> tuple[list[Sample], list[Sample], list[Sample]]:
    """Labelled, unlabelled and validation samples of one set."""
    name = lists.title if len(recipe.data_sets) > 1 else ""
    class_map = None if lists.class_map is None else ClassMap.of(lists.class_map, recipe.labels.names)

    def read(index: str | None) -> list[Sample]:
        if index is None:
            return []
        return read_index(folder / lists.root / index, recipe.modality_names, name, class_map, anywhere)

    training, validation = read(lists.labelled), read(lists.validation)
    labelled, unlabelled = split_by_recording(training, lists.label_fraction, lists.label_seed)
    # Frames of a labelled recording that nobody has labelled.
    unlabelled += [sample for sample in labelled if sample.label is None]
    labelled = [sample for sample in labelled if sample.label is not None]
    unlabelled += [replace(sample, label=None) for sample in read(lists.unlabelled)]
    if lists.labelled and not labelled:
        raise DatasetError(f"{folder / lists.root / lists.labelled}: no frame of the drawn recordings has a label")
    measured = folder / lists.root / (lists.validation or "")
    if without := [sample for sample in validation if sample.label is None]:
        raise DatasetError(f"{measured}: {len(without)} frames have no label to measure against")
    known = {sample.recording for sample in (*labelled, *unlabelled)}
    if shared := sorted(known & {sample.recording for sample in validation}):
        raise DatasetError(
            f"{measured} shares recordings with the training ({', '.join(shared[:5])}): "
            "split by recording, else validation measures what was learnt by heart"
        )
    return labelled, unlabelled, validation
