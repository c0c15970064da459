"""Exports of labelling tools, in whatever format they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from m3l_core.annotation.annotated import Annotations
from m3l_core.annotation.coco import read_coco
from m3l_core.annotation.cvat_images import read_cvat_images
from m3l_core.annotation.cvat_masks import read_cvat_masks
from m3l_core.annotation.export_files import ExportFiles, open_export
from m3l_core.annotation.foreign_formats import foreign_format
from m3l_core.annotation.indexed_masks import read_indexed_masks
from m3l_core.annotation.label_studio_export import read_label_studio
from m3l_core.annotation.manifest import SELECTION_FILE
from m3l_core.errors import DatasetError
from m3l_core.labels import LabelSet

Reader = Callable[[ExportFiles, LabelSet], Annotations | None]


@contextmanager
def read_export(path: Path, labels: LabelSet, annotator: str | None = None) -> Iterator[Annotations]:
    """Read a zip archive, a folder or a file that a labelling tool wrote; the format is told from what is in it.

    Args:
        path: the export.
        labels: the classes; ids of the images are theirs.
        annotator: whose annotation counts where an image has several, if the format tells annotators.

    Raises:
        DatasetError: it is in no format that is known here, or it is damaged; while the images are read, also that one
            uses a class that is not among ``labels``.
    """
    with open_export(path) as files:
        if SELECTION_FILE in files.names:
            raise DatasetError(
                f"{path} is what training/select_frames.py wrote, with a model's labels: give what the labelling tool "
                "exported, or the folder of masks in it once they are corrected"
            )
        if (foreign := foreign_format(files)) is not None:
            why = f", since {foreign.why}" if foreign.why else ""
            raise DatasetError(f"{path} is an export as {foreign.name}, which is not read here{why}: {foreign.instead}")
        # In the order in which they are asked; images may lie beside the annotations of any.
        readers: tuple[Reader, ...] = (
            read_cvat_masks,
            read_cvat_images,
            partial(read_label_studio, annotator=annotator),
            read_coco,
            read_indexed_masks,
        )
        for read in readers:
            if (annotations := read(files, labels)) is not None:
                yield annotations
                return
    raise DatasetError(
        f"{path} holds no annotations: expected an export of CVAT (Segmentation mask 1.1, CVAT for images 1.1, COCO "
        "1.0), of Label Studio (JSON), or png masks; it may be a zip archive, a folder or a file"
    )
