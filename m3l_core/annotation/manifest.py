"""selection.json: which frames were chosen, how, and as what they were handed out, so that the way back is no guess."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from m3l_core.annotation.annotated import listed
from m3l_core.annotation.frame_list import file_hash, relative_name, root_of, stamps
from m3l_core.annotation.frame_names import frame_names, picture
from m3l_core.annotation.selection import Choice
from m3l_core.datasets.folder import Sample
from m3l_core.errors import DatasetError
from m3l_core.json_files import read_json
from m3l_core.labels import LabelSet
from m3l_core.validation import checked

SELECTION_FILE = "selection.json"


class SelectedFrame(BaseModel):
    """One frame that is to be labelled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Of its files in the package, without suffix."""
    picture: str
    """The image that is labelled, relative to the index or the data folder."""
    recording: str
    stamp_ns: int | None
    sha256: str
    """Of the image's file."""
    score: float | None
    """What the strategy chose it by; None where there is no such number."""


class Selection(BaseModel):
    """A package of frames."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    index: str
    """Name of the index file or the data folder."""
    modalities: tuple[str, ...]
    strategy: str
    seed: int
    bundle: str | None
    """Whose features chose and whose labels were handed out, with the start of the weights' sha256."""
    labels: LabelSet
    frames: tuple[SelectedFrame, ...]


def selected_frames(data: Path, samples: Sequence[Sample], choices: Sequence[Choice]) -> tuple[SelectedFrame, ...]:
    """What is told of the chosen samples of ``data``, an index file or a data folder.

    Raises:
        DatasetError: the index or an image cannot be read.
    """
    chosen, stamp_ns = [samples[choice.place] for choice in choices], stamps(data, samples)
    return tuple(
        SelectedFrame(
            name=name,
            picture=relative_name(picture(sample), root_of(data)),
            recording=sample.recording,
            stamp_ns=stamp_ns[choice.place],
            sha256=file_hash(picture(sample)),
            score=choice.score,
        )
        for name, sample, choice in zip(frame_names(chosen), chosen, choices, strict=True)
    )


def read_selection(path: Path) -> Selection:
    """Read selection.json, or the one in a folder.

    Raises:
        DatasetError: it cannot be read as one.
    """
    file = path / SELECTION_FILE if path.is_dir() else path
    try:
        return checked(Selection, read_json(file))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file} cannot be read as what training/select_frames.py writes: {error}") from error


def places_of(selection: Selection, samples: Sequence[Sample], data: Path) -> dict[str, int]:
    """Name of each selected frame -> its place among the samples.

    Raises:
        DatasetError: frames are not among them, or their images are others than were handed out; all are told.
    """
    places = {picture(sample): place for place, sample in enumerate(samples)}
    found: dict[str, int] = {}
    problems: list[str] = []
    for frame in selection.frames:
        file = root_of(data) / frame.picture
        if file not in places:
            problems.append(f"{data} has no frame with {frame.picture}, which was selected as {frame.name}")
        elif file_hash(file) != frame.sha256:
            problems.append(f"{file} is another image than was selected as {frame.name}: its labels are not for it")
        else:
            found[frame.name] = places[file]
    if problems:
        raise DatasetError(f"the selection is not of these frames:{listed(problems)}")
    return found
