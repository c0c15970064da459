"""Whether a quantised graph is good enough: mIoU of every subset of the sensors, float against int8."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from m3l_core.bundle import BundleDescription, GraphFile, ModelBundle
from m3l_core.datasets.folder import Sample
from m3l_core.engines.engine import Engine
from m3l_core.errors import DatasetError, EngineError
from m3l_core.evaluation.conditions import Subset
from m3l_core.evaluation.evaluated_classes import EvaluatedClasses
from m3l_core.evaluation.robustness import RobustnessEvaluator
from m3l_core.metrics import subsets

MOST_LOST = 0.01
"""Of mIoU in [0, 1], in any subset."""

INT8_GRAPH: GraphFile = "model.int8.onnx"


@dataclass(frozen=True, slots=True)
class Comparison:
    """mIoU in [0, 1] per subset, on the same frames."""

    of_float: dict[str, float]
    of_int8: dict[str, float]

    def change(self, subset: str) -> float:
        """What int8 gains; below 0 where it loses."""
        return self.of_int8[subset] - self.of_float[subset]

    @property
    def worst(self) -> str:
        """The subset that loses most."""
        return min(self.of_float, key=self.change)

    @property
    def accepted(self) -> bool:
        return self.change(self.worst) >= -MOST_LOST

    def table(self, title: str) -> Table:
        """For the console."""
        verdict = "accepted" if self.accepted else "refused"
        caption = f"{verdict}: at most {100 * MOST_LOST:g} point may be lost in any subset"
        table = Table(title=title, caption=caption, min_width=len(title) + 2)
        table.add_column("sensors present")
        for column in ("mIoU float", "mIoU int8", "change in points"):
            table.add_column(column, justify="right")
        for subset, before in self.of_float.items():
            table.add_row(subset, f"{before:.4f}", f"{self.of_int8[subset]:.4f}", f"{100 * self.change(subset):+.2f}")
        return table


def subset_miou(
    engine: Engine,
    description: BundleDescription,
    samples: Iterable[Sample],
    classes: EvaluatedClasses | None = None,
    runs_with: Sequence[tuple[str, ...]] | None = None,
) -> dict[str, float]:
    """An engine's mIoU in [0, 1] for each subset of the modalities.

    Args:
        classes: where the labels have others.
        runs_with: the subsets that the network is given in use; None: all.

    Raises:
        DatasetError: a sample cannot be read, or no sample tells anything of a subset.
        EngineError: the engine cannot run the bundle's input.
    """
    conditions = [Subset(present) for present in runs_with or subsets(description.modality_names)]
    result = RobustnessEvaluator(engine, description, classes=classes).measure(samples, conditions)
    miou = {subset: score.confusion.mean_iou() for subset, score in result.of_subsets().items()}
    if unknown := [subset for subset, value in miou.items() if not np.isfinite(value)]:
        raise DatasetError(
            f"no validation frame tells anything of {', '.join(unknown)}: expected labelled frames with every modality"
        )
    return miou


def accept(bundle: ModelBundle, content: bytes, comparison: Comparison) -> ModelBundle:
    """Write the quantised graph into the bundle.

    Raises:
        EngineError: it loses more than ``MOST_LOST`` in a subset; the bundle is left as it was.
    """
    if not comparison.accepted:
        worst = comparison.worst
        raise EngineError(
            f"int8 loses {-100 * comparison.change(worst):.2f} points of mIoU with {worst}, expected at most "
            f"{100 * MOST_LOST:g}. Nothing was written; more calibration frames, or frames more like those of the "
            "validation list, may help"
        )
    return bundle.add_graph(content, INT8_GRAPH)
