"""Image messages on their way to the robot: where a replay lets faults happen to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Edit = Callable[[NDArray[Any]], NDArray[Any]]
"""Something that befalls an image: color (H, W, 3) uint8 RGB, or depth (H, W) uint16 [mm] or float32 [m], to the same
kind of image, of any size; the argument is left as it is."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An image message and when the robot gets it."""

    time_ns: int
    """By the robot's clock: when the bag's recorder got it, unless a fault delays it."""
    modality: str
    message: Any
    """sensor_msgs Image or CompressedImage, not yet decoded."""
    stamp_ns: int
    """Of the header, unless a fault changes it."""
    edits: tuple[Edit, ...] = ()
    """What befalls its image, in this order, once it is decoded."""


Faults = Callable[[Iterable[Arrival]], Iterator[Arrival]]
"""Arrivals in the order of ``time_ns`` to arrivals in that order."""


def no_faults(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
    """Everything arrives as it was recorded."""
    return iter(arrivals)
