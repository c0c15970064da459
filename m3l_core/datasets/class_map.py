"""From the classes of a data set to those of a model, so that sets with classes of their own can be used together.

A map is a mapping from every class of the set, in the order of its ids, to a class of the model or to null:

    {"wall": "wall", "night stand": "cabinet", "other structure": null}

Null is ignored as what is unlabelled: the set does not say which of the model's classes it is. A class of the model
that no class of the set becomes is one that the set does not have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from m3l_core.errors import DatasetError
from m3l_core.json_files import read_json
from m3l_core.labels import IGNORE
from m3l_core.yaml_files import read_yaml


@dataclass(frozen=True, slots=True)
class ClassMap:
    """Class ids of a data set -> class ids of a model."""

    targets: tuple[int, ...]
    """Of each class of the set; 255: ignored."""

    @classmethod
    def of(cls, mapping: Mapping[str, str | None], classes: Sequence[str]) -> ClassMap:
        """Read a map to ``classes``, the model's in the order of their ids.

        Raises:
            DatasetError: the map is empty or too long, or names a class that the model does not have.
        """
        if not 1 <= len(mapping) <= IGNORE:
            raise DatasetError(f"a class map has 1 to {IGNORE} classes, got {len(mapping)}")
        if unknown := sorted({str(name) for name in mapping.values() if name is not None and name not in classes}):
            raise DatasetError(f"the class map names {', '.join(unknown)}; the classes are {', '.join(classes)}")
        ids = {name: number for number, name in enumerate(classes)}
        return cls(tuple(IGNORE if name is None else ids[name] for name in mapping.values()))

    @property
    def classes(self) -> frozenset[int]:
        """The model's classes that the set has."""
        return frozenset(self.targets) - {IGNORE}

    def apply(self, label: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W) class ids of the set -> (H, W) class ids of the model; what is no class of the set becomes 255."""
        table = np.full(256, IGNORE, np.uint8)
        table[: len(self.targets)] = self.targets
        return cv2.LUT(label, table).astype(np.uint8, copy=False)


def read_mapping(source: str) -> dict[str, str | None]:
    """Read the mapping of a class map from a JSON or YAML file.

    Args:
        source: ``FILE``, or ``FILE#KEY`` where the map is a part of it, such as ``recipe.yaml#data.0.class_map``.

    Raises:
        DatasetError: the file cannot be read, or what lies there is no class map.
    """
    file, _, key = source.partition("#")
    path = Path(file)
    try:
        place: Any = read_json(path) if path.suffix == ".json" else read_yaml(path)
        for part in key.split(".") if key else ():
            place = place[int(part) if isinstance(place, list) else part]
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DatasetError(f"{path} cannot be read for a class map: {error}") from error
    except (LookupError, TypeError):
        raise DatasetError(f"{path} has no '{key}'; a class map in it is named as {path.name}#KEY") from None
    entries = place if isinstance(place, dict) else {}
    wrong = [f"{name}: {str(part)[:40]}" for name, part in entries.items() if not isinstance(part, str | None)]
    if wrong or not isinstance(place, dict):
        named = [name for name, part in entries.items() if isinstance(part, dict)]
        hint = f"; is it {' or '.join(f'{path.name}#{name}' for name in named)}?" if named else ""
        came = ", ".join(wrong) or str(place)[:40]
        raise DatasetError(
            f"{source}: expected a mapping from the set's classes to the model's or null, got {came}{hint}"
        )
    if unquoted := [str(name) for name in place if name is None or isinstance(name, bool)]:
        raise DatasetError(
            f"{source}: YAML reads a class as {unquoted[0]}: put names such as no, yes or null in quotes"
        )
    return {str(name): target for name, target in place.items()}
