"""Labels that came back go into the data folder and its index: all are checked before the first is written.

The label of RECORDING/color/STEM.jpg becomes RECORDING/label/STEM.png, as indexing.py has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from m3l_core.annotation.annotated import AnnotatedImage, Annotations, listed
from m3l_core.annotation.frame_list import enter_labels, root_of
from m3l_core.annotation.frame_names import FrameFinder, picture
from m3l_core.datasets.folder import ANYWHERE, Sample, read_image
from m3l_core.datasets.indexing import LABEL
from m3l_core.errors import DatasetError
from m3l_core.files import lies_below, replacing_file, sole_user
from m3l_core.labels import IGNORE, LabelSet
from m3l_core.pictures import picture_bytes, size_of_picture


@dataclass(frozen=True, slots=True)
class NewLabel:
    """What became of one annotated frame."""

    recording: str
    picture: Path
    """The image that it is of."""
    file: Path
    """Where it belongs."""
    png: bytes
    pixels: NDArray[np.int64]
    """Number of pixels of each class."""
    share: float
    """Of the pixels that are labelled."""
    outcome: Literal["new", "changed", "unchanged"]


@dataclass(frozen=True, slots=True)
class Filling:
    """What would be written: nothing is yet."""

    labels: tuple[NewLabel, ...]
    empty: int
    """Annotated frames in which no pixel is labelled; they stay unlabelled."""


class LabelChecker:
    """Checks annotations against the frames of an index or a data folder.

    Args:
        samples: the frames.
        finder: knows the frames by the names of their files.
        labels: the classes.
        overwrite: whether another label of a frame is replaced.
        some_classes: whether annotators may have had a part of the classes to choose from.
        root: every label must lie below this folder, wherever links lead; None: anywhere.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        finder: FrameFinder,
        labels: LabelSet,
        *,
        overwrite: bool = False,
        some_classes: bool = False,
        root: Path | None = None,
    ) -> None:
        self._samples, self._finder, self._labels = samples, finder, labels
        self._overwrite, self._some_classes, self._root = overwrite, some_classes, root
        self._found: dict[int, tuple[str, NewLabel]] = {}
        self._problems: list[str] = []
        self._empty = 0

    def add(self, origin: Path, annotations: Annotations) -> int:
        """Check an export; returns how many frames it has. What is wrong is told by ``finish``."""
        missing = [name for name in self._labels.names if name not in (annotations.classes or self._labels.names)]
        if missing and not self._some_classes:
            self.refuse(
                DatasetError(
                    f"{origin} knows {', '.join(annotations.classes or ())}, but not {', '.join(missing)}: whoever "
                    "labelled could not choose these. Add them in the labelling tool and look again, or allow it by "
                    "--some-classes"
                )
            )
        count = 0
        for image in annotations.images:
            count += 1
            try:
                if isinstance(image, DatasetError):
                    raise image
                self._add(image)
            except DatasetError as error:
                self.refuse(error)
        return count

    def refuse(self, error: DatasetError) -> None:
        """Count what is wrong, a line each; nothing will be written."""
        self._problems += str(error).splitlines()

    def finish(self) -> Filling:
        """What is to be written.

        Raises:
            DatasetError: something is wrong with at least one frame, or there is none.
        """
        if self._problems:
            raise DatasetError(f"nothing is written, since these annotations cannot be used:{listed(self._problems)}")
        if not self._found:
            raise DatasetError(f"no frame is labelled; {self._empty} are there without a labelled pixel")
        labels = [self._found[place][1] for place in sorted(self._found)]
        if twice := [file for file, count in Counter(label.file for label in labels).items() if count > 1]:
            raise DatasetError(f"{twice[0]} would be the label of two frames: give their images different names")
        return Filling(tuple(labels), self._empty)

    def _add(self, image: AnnotatedImage) -> None:
        place = self._finder.find(image.name)
        sample = self._samples[place]
        size = _size(picture(sample))
        if image.size != size:  # before anything of that size is drawn
            raise DatasetError(
                f"{image.origin} is of {image.size[1]}x{image.size[0]} pixels, {picture(sample)} of "
                f"{size[1]}x{size[0]}: label the image as it is in the index"
            )
        ids = image.draw()
        if (ids == IGNORE).all():
            self._empty += 1
            return
        if place in self._found:
            raise DatasetError(f"{image.origin} and {self._found[place][0]} are both of {picture(sample)}: keep one")
        self._found[place] = image.origin, self._label(sample, ids, image.origin)

    def _label(self, sample: Sample, ids: NDArray[np.uint8], origin: str) -> NewLabel:
        file = sample.label or label_file(sample)
        if self._root is not None and not lies_below(file, self._root):
            raise DatasetError(
                f"{origin}: its label {file} would lie outside of {self._root}: give {ANYWHERE} to have it so"
            )
        outcome: Literal["new", "changed", "unchanged"] = "new"
        if file.exists():
            try:
                is_same = np.array_equal(read_image(file, "label"), ids)
            except DatasetError:
                if not self._overwrite:
                    raise
                is_same = False
            if not is_same and not self._overwrite:
                raise DatasetError(f"{origin}: {picture(sample)} has another label already, {file}")
            if sample.label is not None:
                outcome = "unchanged" if is_same else "changed"
        counts = np.bincount(ids.ravel(), minlength=256)
        return NewLabel(
            sample.recording,
            picture(sample),
            file,
            cv2.imencode(".png", ids)[1].tobytes(),
            counts[: len(self._labels)].astype(np.int64),
            float(1.0 - counts[IGNORE] / ids.size),
            outcome,
        )


def _size(file: Path) -> tuple[int, int]:
    try:
        return size_of_picture(picture_bytes(file))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file} cannot be read as an image: {error}") from error


def label_file(sample: Sample) -> Path:
    """Where the label of a frame belongs: beside the folder of its images."""
    (modality, path), *_ = sample.images.items()
    folder = path.parent.parent if path.parent.name == modality else path.parent
    return folder / LABEL / f"{path.stem}.png"


def write_labels(data: Path, filling: Filling) -> None:
    """Write the label images, then name them in the index file, or in the frames.json of the recordings.

    Raises:
        DatasetError: something cannot be read or written; the same command goes on.
    """
    try:
        with sole_user(root_of(data)):
            for label in filling.labels:
                if label.outcome != "unchanged":
                    with replacing_file(label.file) as temporary:
                        temporary.write_bytes(label.png)
            # Those that were there already too: an import may have been interrupted here.
            enter_labels(data, {label.picture: label.file for label in filling.labels})
    except OSError as error:
        raise DatasetError(f"{data} cannot be written: {error}; the same command goes on from here") from error
