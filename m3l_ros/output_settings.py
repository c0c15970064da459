"""What the node's parameters say of its outputs: size, id of no label, classes of interest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from m3l_core.labels import IGNORE

Size = tuple[int, int]
"""(H, W) in pixels."""
_LONGEST_SIDE = 8192


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """At one moment; field by field the parameters of these names."""

    output_size: str
    min_confidence: float
    unlabelled_value: int
    classes_of_interest: tuple[str, ...]
    overlay_opacity: float

    def size(self, reference: Size, network: Size) -> Size:
        """(H, W) of the outputs, by the size of the reference frame and of the network's input."""
        return {"reference": reference, "network": network}.get(self.output_size) or _given(self.output_size)

    @property
    def first_id(self) -> int:
        """Published for the first class: where 0 is no label, each id is one more than the bundle's."""
        return 0 if self.unlabelled_value == IGNORE else 1

    def published_ids(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W) uint8 ids of the bundle, 255 = unlabelled -> what stands for them on the topics."""
        return labels + np.uint8(1) if self.first_id else labels  # 255 + 1 is 0

    def class_map(self, class_names: Sequence[str]) -> dict[int, str]:
        """Published id -> name, of the bundle's classes."""
        return dict(enumerate(class_names, self.first_id))

    def interest(self, class_names: Sequence[str]) -> NDArray[np.uint8]:
        """(256,) uint8 by id of the bundle: 255 for the classes of interest, else 0."""
        table = np.zeros(256, np.uint8)
        table[[class_names.index(name) for name in self.classes_of_interest if name]] = 255
        return table


def output_size_problem(text: str) -> str:
    """Why ``output_size`` cannot be that; empty if it can."""
    if text in ("reference", "network"):
        return ""
    try:
        height, width = _given(text)
    except ValueError:
        return f"expected reference, network, or WIDTHxHEIGHT such as 320x240, got '{text}'"
    if not 1 <= min(height, width) <= max(height, width) <= _LONGEST_SIDE:
        return f"expected sides of 1 to {_LONGEST_SIDE} pixels, got '{text}'"
    return ""


def unknown_classes(names: Sequence[str], class_names: Sequence[str]) -> str:
    """Why these cannot be the classes of interest, where a bundle has ``class_names``; empty if they can."""
    for name in names:
        if name and name not in class_names:
            near = get_close_matches(name, class_names, 1, 0.0)[0]
            return f"the bundle has no class '{name}', the nearest is '{near}'; it has {', '.join(class_names)}"
    return ""


def _given(text: str) -> Size:
    found = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", text)
    if found is None:
        raise ValueError(text)
    width, height = map(int, found.groups())
    return height, width
