"""A training in TensorBoard: curves and sample pictures."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3l_core.errors import MissingPackageError, require
from m3l_core.metrics import mm_robust
from m3l_core.trainer.reporting.examples import examples, strip
from m3l_core.trainer.reporting.progress import Pace, mean_losses
from m3l_core.trainer.trainer import Monitor, Trainer

logger = logging.getLogger(__name__)

PER_CLASS = "per_class"
"""Heading of all curves of single classes; TensorBoard sorts headings: loss and miou come first, this last."""
_EVERY = 10
"""Iterations between two points of a curve, and over which losses are averaged."""


def tensorboard_monitors(folder: Path) -> tuple[Monitor, ...]:
    """One that writes into ``folder``, or none where TensorBoard is not installed."""
    try:
        require("tensorboard", "train")
    except MissingPackageError as error:
        logger.warning("no curves for TensorBoard, the training goes on. %s", error)
        return ()
    logger.info("to watch the curves: tensorboard --logdir %s", folder)
    return (TensorBoardMonitor(folder),)


class TensorBoardMonitor:
    """Writes events into ``folder``; a training that goes on replaces the points after its checkpoint."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None
        self._failed = False
        self._pace = Pace()

    def step(self, trainer: Trainer) -> None:
        self._pace.step(trainer)
        if trainer.iteration % _EVERY and trainer.iteration != trainer.recipe.iterations:
            return
        scalars = {f"loss/{name}": value for name, value in mean_losses(trainer.losses[-_EVERY:]).items()}
        scalars["pace/learning_rate"] = trainer.optimizer.param_groups[0]["lr"]
        if self._pace.known:
            scalars["pace/seconds_per_iteration"] = self._pace.seconds_per_iteration
            scalars["pace/waiting_for_data"] = self._pace.waiting
        self._write(trainer.iteration, scalars)

    def evaluation(self, trainer: Trainer) -> None:
        entry, classes = trainer.history[-1], trainer.recipe.labels.names
        scalars = {f"miou/{subset}": value for subset, value in entry["miou"].items()}
        scalars["miou/mm_robust"] = mm_robust(entry["miou"])
        for name, of_set in entry.get("sets", {}).items():
            scalars |= {f"miou_{name}/{subset}": value for subset, value in of_set["miou"].items()}
        of_classes = {f"iou_{subset}": values for subset, values in entry["iou"].items()}
        of_classes["pseudo_labels_kept"] = entry["kept"]
        for kind, values in of_classes.items():
            scalars |= {f"{PER_CLASS}/{kind}/{name}": value for name, value in zip(classes, values, strict=True)}
        pictures = {
            f"validation/{number}": strip(example)
            for number, example in enumerate(examples(trainer, count=3, width=240), start=1)
        }
        self._write(trainer.iteration, scalars, pictures)
        self._pace.evaluation(trainer)

    def _write(
        self,
        iteration: int,
        scalars: Mapping[str, float | None],
        pictures: Mapping[str, NDArray[np.uint8]] = MappingProxyType({}),
    ) -> None:
        if self._failed:
            return
        try:
            if self._writer is None:
                from torch.utils.tensorboard import SummaryWriter

                # TensorBoard hides what a former start wrote of this iteration and later ones.
                self._writer = SummaryWriter(self._folder, purge_step=iteration)
            for name, value in scalars.items():
                if value is not None:
                    self._writer.add_scalar(name, value, iteration)
            for name, picture in pictures.items():
                self._writer.add_image(name, picture, iteration, dataformats="HWC")
            self._writer.flush()
        except OSError as error:
            self._failed = True
            logger.error("nothing more is written for TensorBoard (%s); the training goes on", error)
