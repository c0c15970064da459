"""What the folder of a recording was made from: source.yaml in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from m3l_core.datasets.indexing import LABEL
from m3l_core.errors import DatasetError
from m3l_core.files import replacing_file
from m3l_core.yaml_files import read_yaml

SOURCE_FILE = "source.yaml"
LABELS = "labels"
"""Key of what is told of the labels in the bag."""
AS_RECORDED, REGISTERED = "as recorded", "registered to color"


def begin(folder: Path, source: Mapping[str, Any], bag: Path) -> None:
    """Write source.yaml, or check that what is there was made from the same.

    Args:
        folder: of the recording.
        source: ``start_ns``, ``topics``, ``stamps``, ``synchronizer`` and ``depth``, which make the files what they
            are; ``labels`` likewise, if labels are extracted; and whatever else is worth knowing.
        bag: for the text of an error.

    Raises:
        DatasetError: the folder holds something else.
        OSError: it cannot be written.
    """
    path = folder / SOURCE_FILE
    written = dict(source)
    if path.is_file():
        try:
            former = dict(read_yaml(path))
        except (yaml.YAMLError, TypeError, ValueError) as error:
            raise DatasetError(f"{path} does not say what {folder} holds ({error}): remove {folder}") from error
        # The first releases wrote neither: any synchronizer may have been at work, and no depth was registered.
        unsaid = {"synchronizer": source["synchronizer"], "depth": AS_RECORDED, "stamps": "header"}
        differing = {
            key: (was, source[key])
            for key in ("start_ns", "topics", "stamps", "synchronizer", "depth")
            if (was := former.get(key, unsaid.get(key))) != source[key]
        }
        told = former.get(LABELS)
        if LABELS not in source and told is not None:  # of labels that an earlier run wrote
            written[LABELS] = told
        elif told not in (None, source.get(LABELS)) and any((folder / LABEL).glob("*.png")):
            differing[LABELS] = (told, source[LABELS])
        if differing:
            was, now = ({key: values[place] for key, values in differing.items()} for place in (0, 1))
            raise DatasetError(
                f"{folder} was extracted from {was}, bag {bag} is {now}: give the bag's folder another name, "
                f"or remove {folder}"
            )
    elif folder.exists() and any(folder.iterdir()):
        raise DatasetError(f"{folder} holds something else: choose another folder, or rename the bag's")
    with replacing_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
