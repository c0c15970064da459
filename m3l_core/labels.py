"""Class names, their colors, and the label that means "no label"."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

IGNORE = 255
"""Label of a pixel without a class; never counted, never trained on."""

_LONGEST_NAME = 200
_Channel = Annotated[int, Field(ge=0, le=255)]


class SemanticClass(BaseModel):
    """One class: its id is its place in the LabelSet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    color: tuple[_Channel, _Channel, _Channel]
    """RGB, 0..255."""


class LabelSet(BaseModel):
    """The classes of a model or a data set, in the order of their ids."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: Annotated[tuple[SemanticClass, ...], Field(min_length=2, max_length=255)]

    @field_validator("classes")
    @classmethod
    def _names_can_be_told_apart(cls, classes: tuple[SemanticClass, ...]) -> tuple[SemanticClass, ...]:
        names = [entry.name for entry in classes]
        if unfit := [name for name in names if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME]:
            raise ValueError(f"a class is called {unfit[0]!r:.60}: expected a name that can be read in one line")
        if len(set(names)) != len(names):
            raise ValueError(f"class names must differ, got {names}")
        return classes

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.classes)

    def __len__(self) -> int:
        return len(self.classes)

    def colorize(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W) uint8 class ids -> (H, W, 3) uint8 RGB; ids without a class are black."""
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(self)] = [entry.color for entry in self.classes]
        return palette[labels]
