"""Looks at every file of an index before a training does: what would stop it, and what the data are like."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from m3l_core.datasets.class_map import ClassMap
from m3l_core.datasets.folder import Sample, parse_index
from m3l_core.errors import DatasetError
from m3l_core.inspection.tally import Distances, Tally, Task
from m3l_core.labels import IGNORE, LabelSet
from m3l_core.modalities import DepthModality, Modality
from m3l_core.parallel import in_processes
from m3l_core.validation import checked
from m3l_core.yaml_files import read_yaml

PERCENTILES = (1, 5, 50, 95, 99)
_CHUNK = 32


def load_task(path: Path, known: Collection[str]) -> Task:
    """Read the modalities and classes of a labels.yaml.

    Args:
        path: the file.
        known: the keys that it may have: those of a recipe, which reads the same file.

    Raises:
        DatasetError: the file cannot be read as one, has neither, or has a key that is not known.
    """
    try:
        content = read_yaml(path)
        task = checked(Task, content)
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read for modalities and labels: {error}") from error
    if unknown := [str(key) for key in content if key not in known]:
        raise DatasetError(f"{path} has {', '.join(unknown)}, which no recipe has: is a key mistyped?")
    if not task.model_fields_set:
        raise DatasetError(f"{path} has neither modalities nor labels")
    return task


def inspect_index(
    index: Path,
    task: Task,
    workers: int = 1,
    advance: Callable[[int], None] = lambda frames: None,
    class_map: ClassMap | None = None,
    anywhere: bool = False,
) -> dict[str, Any]:
    """Read every file that an index names.

    Args:
        index: the index file.
        task: the modalities and classes that a training would use.
        workers: processes.
        advance: called with the number of frames that were done since.
        class_map: from the classes of the labels to those of the task.
        anywhere: whether files may lie outside of the index's folder.

    Returns:
        Figures, ready for JSON: ``problems`` has what would stop a training, ``remarks`` what it would suffer from.

    Raises:
        DatasetError: the index itself cannot be read, or an entry lacks a field.
    """
    samples = parse_index(
        index, [modality.name for modality in task.modalities], class_map=class_map, anywhere=anywhere
    )
    chunks = [samples[start : start + _CHUNK] for start in range(0, len(samples), _CHUNK)]
    tally = Tally()
    for chunk, part in zip(chunks, in_processes(partial(_tally, task), chunks, workers, chunk=1), strict=True):
        tally.merge(part)
        advance(len(chunk))
    report = {
        "index": str(index),
        "frames": len(samples),
        "recordings": len({sample.recording for sample in samples}),
        "labelled": len(samples) - tally.unlabelled,
        "missing": {modality.name: tally.missing[modality.name] for modality in task.modalities},
        "sizes": dict(tally.sizes.most_common()),
        "problems": tally.problems,
        "distances": {
            name: _distances(tally.distances[name]) for name in tally.distances if tally.distances[name].frames
        },
        "unlabelled_share": _share(tally.label_pixels[IGNORE], tally.label_pixels.sum()),
        "classes": _classes(tally, task.labels),
    }
    return report | {"remarks": _remarks(report, tally, task.modalities)}


def _tally(task: Task, samples: Sequence[Sample]) -> Tally:
    tally = Tally()
    for sample in samples:
        tally.add(sample, task)
    return tally


def _distances(distances: Distances) -> dict[str, Any]:
    return {
        "frames": distances.frames,
        "empty_frames": distances.empty_frames,
        "invalid_share": _share(distances.pixels - distances.valid, distances.pixels),
        "nearer_share": _share(distances.nearer, distances.valid),
        "farther_share": _share(distances.farther, distances.valid),
        "percentiles_m": {str(percent): distances.percentile(percent) for percent in PERCENTILES},
    }


def _classes(tally: Tally, labels: LabelSet | None) -> list[dict[str, Any]]:
    """Shares are of the labelled pixels; without a LabelSet the ids that occur."""
    labelled = tally.label_pixels[:IGNORE].sum()
    names = labels.names if labels else ()
    ids = range(len(names)) if labels else np.flatnonzero(tally.label_pixels[:IGNORE]).tolist()
    return [
        {
            "name": names[number] if labels else str(number),
            "pixel_share": _share(tally.label_pixels[number], labelled),
            "frames": int(tally.label_frames[number]),
        }
        for number in ids
    ]


def _remarks(report: Mapping[str, Any], tally: Tally, modalities: Sequence[Modality]) -> list[str]:
    remarks = [f"frames without {name}: {count}" for name, count in tally.missing.items()]
    if tally.unlabelled:
        remarks.append(f"frames without a label: {tally.unlabelled}")
    if report["labelled"] and (unseen := [entry["name"] for entry in report["classes"] if not entry["frames"]]):
        remarks.append(f"classes that are never seen: {', '.join(unseen)}")
    for modality in modalities:
        figures = report["distances"].get(modality.name)
        if figures is None:
            continue
        if figures["empty_frames"]:
            remarks.append(f"frames without a valid pixel in {modality.name}: {figures['empty_frames']}")
        median = figures["percentiles_m"]["50"]
        if (
            isinstance(modality, DepthModality)
            and median is not None
            and not modality.near_m <= median <= modality.far_m
        ):
            remarks.append(
                f"the median of {modality.name} is {median:g} m, outside {modality.near_m:g} to {modality.far_m:g} m: "
                "is its unit right?"
            )
    return remarks


def _share(part: Any, whole: Any) -> float | None:
    return round(float(part) / float(whole), 6) if whole else None
