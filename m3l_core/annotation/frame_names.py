"""What a frame is called while it is labelled, and which frame of the index a labelled file is of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count
from pathlib import Path, PurePosixPath

from m3l_core.datasets.folder import Sample
from m3l_core.errors import DatasetError

_HASH_PREFIX = re.compile(r"[0-9a-f]{8}(-|__)")
"""Label Studio puts one before the name of a file: with a line where it was uploaded, with two below where images are
exported with their labels."""


def picture(sample: Sample) -> Path:
    """The image that people label: of the first modality that the frame has."""
    return next(iter(sample.images.values()))


def frame_name(sample: Sample) -> str:
    """RECORDING__STEM, in characters that no labelling tool and no file system changes."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", f"{sample.recording}__{picture(sample).stem}")


def frame_names(samples: Sequence[Sample]) -> list[str]:
    """A name for each, all different."""
    names: dict[str, None] = {}
    for name in map(frame_name, samples):
        numbered = (f"{name}__{number}" for number in count(2))
        names[next(each for each in chain([name], numbered) if each not in names)] = None
    return list(names)


class FrameFinder:
    """Finds frames by the names of labelled files: whole paths, or what follows other folders.

    Args:
        frames: name, with folders or without, and no suffix -> the frame's place in the index.
        expected: what these names are, for messages.
    """

    def __init__(self, frames: Iterable[tuple[str, int]], expected: str) -> None:
        self._places: dict[str, set[int]] = {}
        self._expected = expected
        self._deepest = 1
        for name, place in frames:
            self._places.setdefault(name, set()).add(place)
            self._deepest = max(self._deepest, 1 + name.count("/"))

    @classmethod
    def of_names(cls, names: Mapping[str, int]) -> FrameFinder:
        """For the frames of a selection, by the names that it gave them."""
        return cls(names.items(), "the frames of the selection")

    @classmethod
    def of_index(cls, samples: Sequence[Sample], folder: Path) -> FrameFinder:
        """For all frames of the index in ``folder``, by RECORDING__STEM and by the paths of their images."""
        named = [(name, place) for place, name in enumerate(map(frame_name, samples))]
        for place, sample in enumerate(samples):
            stems = (file.with_suffix("") for file in sample.images.values())
            named += [((s.relative_to(folder) if s.is_relative_to(folder) else s).as_posix(), place) for s in stems]
        return cls(named, "RECORDING__STEM, or the path of an image in the index")

    def find(self, file: str) -> int:
        """Place of a frame in the index.

        Args:
            file: path of a labelled file, as its tool calls it.

        Raises:
            DatasetError: it is of no frame, or it is not clear of which.
        """
        path = PurePosixPath(file.replace("\\", "/"))
        parts = path.with_name(path.stem).parts[-self._deepest :] if path.name else ()
        found: set[int] = set()
        for begin in range(len(parts)):
            found = found or self._places.get("/".join(parts[begin:]), set())
        if not found and parts and (prefix := _HASH_PREFIX.match(parts[-1])):
            found = self._places.get(parts[-1][prefix.end() :], set())
        if len(found) != 1:
            known = f"is of {len(found)} frames" if found else "is of no frame"
            raise DatasetError(f"{file} {known}: expected {self._expected}")
        return next(iter(found))
