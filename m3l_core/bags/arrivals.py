"""Image messages on their way to the robot: where a replay lets faults happen to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from numpy.typing import NDArray

from m3l_core.frames import ImageKind

Edit = Callable[[NDArray[Any]], NDArray[Any]]
"""Something that befalls an image: color (H, W, 3) uint8 RGB, depth (H, W) uint16 [mm] or float32 [m], or intensity
(H, W) uint8 or uint16, to the same kind of image, of any size; the argument is left as it is."""


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
    kind: ImageKind | None = None
    """Of its image; that of the modality's name if None."""


Stamps = Literal["header", "receive"]
"""What counts as the stamp of an image: that of its header, or when it was recorded."""

Faults = Callable[[Iterable[Arrival]], Iterator[Arrival]]
"""Arrivals in the order of ``time_ns`` to arrivals in that order."""


def no_faults(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
    """Everything arrives as it was recorded."""
    return iter(arrivals)


def stamped(arrivals: Iterable[Arrival], stamps: Stamps) -> Iterator[Arrival]:
    """The arrivals with what counts as their stamps."""
    for arrival in arrivals:
        yield arrival if stamps == "header" else replace(arrival, stamp_ns=arrival.time_ns)
