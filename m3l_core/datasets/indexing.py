"""Recordings in folders become index files, split by recording.

    DATA/RECORDING/color/STEM.jpg  DATA/RECORDING/depth/STEM.png  DATA/RECORDING/label/STEM.png

Files of one instant share their stem. What is not there was missing at that instant, or has not been labelled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from m3l_core.datasets.folder import FOCAL_LENGTH, TEACHER, Sample, Teacher, focal_length_of, teacher_of
from m3l_core.errors import DatasetError
from m3l_core.files import replacing_file, sole_user
from m3l_core.json_files import read_json

LABEL = "label"
RECORDING_INDEX = "frames.json"
"""What extraction leaves in the folder of a recording."""
TRAIN_INDEX, VALIDATION_INDEX = "train.json", "val.json"
_LOSSY = (".jpg", ".jpeg")
_SUFFIXES = (*_LOSSY, ".png", ".tif", ".tiff")
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Recording:
    """One folder of frames."""

    name: str
    samples: tuple[Sample, ...]

    @property
    def num_labelled(self) -> int:
        return sum(sample.label is not None for sample in self.samples)

    def num_without(self, modality: str) -> int:
        return sum(modality not in sample.images for sample in self.samples)


def read_recordings(folder: Path, modalities: Sequence[str] = ("color", "depth")) -> list[Recording]:
    """Match the files of every recording in ``folder``; no picture is opened.

    Raises:
        DatasetError: there is no recording, a label has no picture, or it is not clear which file is meant.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder")
    recordings, orphans = [], []
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or path.name.startswith("."):
            continue
        images = {name: _by_stem(path / name) for name in modalities}
        labels = _by_stem(path / LABEL)
        teachers, focal_lengths = _told(path, modalities)
        stems = sorted(set[str]().union(*images.values()))
        # A label may also belong to a picture of a modality that is not asked for.
        pictured = {file.stem for file in path.glob("*/*") if file.parent.name != LABEL}
        orphans += [str(file.relative_to(folder)) for stem, file in labels.items() if stem not in pictured]
        samples = tuple(
            Sample(
                {name: files[stem] for name, files in images.items() if stem in files},
                labels.get(stem),
                path.name,
                teacher=teachers.get(labels.get(stem)),
                fx=focal_lengths.get(stem),
            )
            for stem in stems
        )
        if samples:
            recordings.append(Recording(path.name, samples))
    if orphans:
        raise DatasetError(
            f"{folder}: {len(orphans)} labels have no picture of the same name, rename or remove them: {_some(orphans)}"
        )
    if not recordings:
        wanted = ", ".join(f"RECORDING/{name}/STEM.png" for name in modalities)
        raise DatasetError(f"{folder} has no recordings: expected files {wanted} (or jpg, tif) in it")
    return recordings


def draw_validation(recordings: Sequence[Recording], fraction: float = 0.2, seed: int = 0) -> set[str]:
    """Draw ``fraction`` of the labelled recordings to validate with: at least one, and one is left to train on.

    Returns:
        Their names. Where recordings are added later, most that were drawn before are drawn again.

    Raises:
        DatasetError: fewer than two recordings are labelled, or ``fraction`` is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise DatasetError(f"the share for validation must be between 0 and 1, got {fraction}")
    labelled = [recording.name for recording in recordings if recording.num_labelled]
    if not labelled:
        raise DatasetError(
            f"none of the {len(recordings)} recordings has a label: put 8-bit png files of class ids, named like the "
            f"pictures, into RECORDING/{LABEL}/"
        )
    if len(labelled) == 1:
        raise DatasetError(
            f"only the recording {labelled[0]} has labels, and validation needs one that training never sees: label "
            "some frames of another recording, or move the files of a part that shows another place to a folder of "
            "its own"
        )
    count = min(len(labelled) - 1, max(1, round(fraction * len(labelled))))
    # By a hash of each name: a draw from the list would change as a whole with every recording that is added.
    return set(sorted(labelled, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())[:count])


def write_indexes(
    folder: Path, recordings: Sequence[Recording], validation: Collection[str], modalities: Sequence[str]
) -> None:
    """Write train.json and val.json; of the recordings in ``validation`` only the labelled frames.

    Raises:
        DatasetError: ``folder`` cannot be written.
    """
    samples = [sample for recording in recordings for sample in recording.samples]
    indexes = {
        TRAIN_INDEX: [sample for sample in samples if sample.recording not in validation],
        VALIDATION_INDEX: [s for s in samples if s.recording in validation and s.label is not None],
    }
    try:
        with (
            sole_user(folder),
            replacing_file(folder / TRAIN_INDEX) as train,
            replacing_file(folder / VALIDATION_INDEX) as held_out,
        ):
            for temporary, chosen in zip((train, held_out), indexes.values(), strict=True):
                entries = [_entry(folder, sample, modalities) for sample in chosen]
                temporary.write_text(json.dumps(entries, indent=0), encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"{folder} cannot be written: {error}") from error


def _by_stem(folder: Path) -> dict[str, Path]:
    """Stem -> file."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() not in _SUFFIXES or path.name.startswith("."):
            continue
        if not path.is_file():
            raise DatasetError(f"{path} is no file: expected a picture, remove it")
        if folder.name == LABEL and path.suffix.lower() in _LOSSY:
            raise DatasetError(f"{path}: labels must be png, jpeg changes the class ids")
        if path.stem in found:
            raise DatasetError(f"{found[path.stem]} and {path} are both the {folder.name} of one instant: remove one")
        found[path.stem] = path
    return found


def _told(folder: Path, modalities: Sequence[str]) -> tuple[dict[Path | None, Teacher], dict[str, float | None]]:
    """What extraction says: label -> the model that made it, unless somebody has corrected it; stem -> focal length.

    Raises:
        DatasetError: the list in the folder cannot be read.
    """
    index = folder / RECORDING_INDEX
    try:
        found = read_json(index) if index.is_file() else []
        entries = [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
        teachers: dict[Path | None, Teacher] = {
            label: teacher
            for entry in entries
            if (teacher := teacher_of(entry)) is not None
            and (label := folder / entry[LABEL]).is_file()
            and entry["sha256"][LABEL] == hashlib.sha256(label.read_bytes()).hexdigest()
        }
        return teachers, {_stem(entry, modalities): focal_length_of(entry) for entry in entries}
    except (OSError, ValueError, LookupError, TypeError, DatasetError) as error:
        raise DatasetError(
            f"{index} cannot be read for who labelled its frames, and with which camera: {error}"
        ) from error


def _stem(entry: Mapping[str, Any], modalities: Iterable[str]) -> str:
    """That the pictures of an entry share."""
    pictures = (entry[name] for name in modalities if isinstance(entry.get(name), str))
    return str(entry.get("name") or next((Path(picture).stem for picture in pictures), ""))


def _entry(folder: Path, sample: Sample, modalities: Iterable[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        name: sample.images[name].relative_to(folder).as_posix() if name in sample.images else None
        for name in modalities
    }
    if sample.label is not None:
        entry[LABEL] = sample.label.relative_to(folder).as_posix()
        if sample.teacher is not None:
            entry[TEACHER] = asdict(sample.teacher)
    if sample.fx is not None:
        entry[FOCAL_LENGTH] = sample.fx
    return entry | {"recording": sample.recording}


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
