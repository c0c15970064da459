"""What a training leaves for its reader: history.json while it runs, report.json and report.html at its end."""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from m3l_core.datasets.folder import Sample
from m3l_core.files import replacing_file
from m3l_core.reporting.json_values import without_nan
from m3l_core.trainer.provenance import Provenance
from m3l_core.trainer.reporting.examples import examples
from m3l_core.trainer.reporting.progress import mean_losses
from m3l_core.trainer.reporting.report_page import to_html
from m3l_core.trainer.trainer import Trainer

logger = logging.getLogger(__name__)

_PACKAGES = ("m3l_ros", "numpy", "opencv-python-headless")
_MOST_POINTS = 1000


class HistoryFile:
    """A monitor that writes all evaluations so far."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def step(self, trainer: Trainer) -> None:
        """Nothing is new."""

    def evaluation(self, trainer: Trainer) -> None:
        try:
            _write(self._path, _json(trainer.history))
        except OSError as error:
            logger.error("%s could not be written (%s); the training goes on", self._path, error)


def write_report(trainer: Trainer, provenance: Provenance) -> Path:
    """Write ``report.json`` and ``report.html`` of a training that has come to its end into its output folder.

    Returns:
        The page, which needs no other file.

    Raises:
        OSError: the disk is full, or cannot be written to.
    """
    report = to_dict(trainer, provenance)
    page = trainer.output / "report.html"
    _write(trainer.output / "report.json", _json(report))
    _write(page, to_html(report, examples(trainer)))
    return page


def to_dict(trainer: Trainer, provenance: Provenance) -> dict[str, Any]:
    """Everything that is known of a training, ready for JSON; None where a figure does not exist."""
    recipe, data, last = trainer.recipe, trainer.data, trainer.history[-1]
    report = {
        "name": recipe.name,
        "description": recipe.description,
        "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "provenance": provenance.model_dump(mode="json"),
        "data": {
            name: {"frames": len(samples), "recordings": _count_recordings(samples)}
            for name, samples in (
                ("labelled", data.labelled),
                ("unlabelled", data.unlabelled),
                ("validation", data.validation),
            )
        },
        "iterations": trainer.iteration,
        "seconds": round(trainer.seconds, 1),
        "waiting_for_data": round(trainer.waited / trainer.seconds, 4) if trainer.seconds else None,
        "miou": last["miou"],
        "iou": {subset: dict(zip(recipe.labels.names, values, strict=True)) for subset, values in last["iou"].items()},
        "history": trainer.history,
        "losses": thinned(trainer.losses),
        "machine": machine(trainer),
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)}
        | {name: _version(name) for name in _PACKAGES},
        "recipe": recipe.model_dump(mode="json"),
    }
    known: dict[str, Any] = without_nan(report)
    return known


def thinned(losses: Sequence[dict[str, float]]) -> dict[str, Sequence[float]]:
    """Means over neighbouring iterations: ``iteration``, the last of each, and each term; at most 1000 points."""
    step = -(-len(losses) // _MOST_POINTS)
    parts = {min(first + step, len(losses)): losses[first : first + step] for first in range(0, len(losses), step or 1)}
    means = [mean_losses(part) for part in parts.values()]
    terms = {name: [round(mean[name], 6) for mean in means] for name in losses[0]} if losses else {}
    return {"iteration": [*parts], **terms}


def machine(trainer: Trainer) -> dict[str, Any]:
    """What the training ran on."""
    on_gpu = trainer.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(trainer.device) if on_gpu else _processor(),
        "processes": trainer.ranks.count,
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _count_recordings(samples: Sequence[Sample]) -> int:
    return len({(sample.data_set, sample.recording) for sample in samples})


def _json(content: Any) -> str:
    return json.dumps(without_nan(content), indent=1, allow_nan=False) + "\n"


def _write(path: Path, text: str) -> None:
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
