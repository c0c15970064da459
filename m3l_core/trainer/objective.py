"""What a student is taught by: labels, pseudo labels, and its teacher's probabilities.

Legend: B samples, M modalities, K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from m3l_core.labels import IGNORE
from m3l_core.model.network import LinearFusionSegFormer, upsample
from m3l_core.trainer.batches import Batch
from m3l_core.trainer.distributed import Ranks
from m3l_core.trainer.losses import PixelSum, divergence, ohem_cross_entropy, pseudo_cross_entropy
from m3l_core.trainer.method import Method
from m3l_core.trainer.recipe import Recipe
from m3l_core.trainer.views import PseudoLabels, pseudo_labels, student_view

Forward = Callable[..., Tensor]


class Objective(NamedTuple):
    """The losses of a student, ready to be added up, and what became of the pseudo labels."""

    terms: dict[str, Tensor]
    """``supervised``, and where there is a teacher ``pseudo`` and ``distillation``: scalars with a gradient."""
    kept: Tensor
    """(2, K) weight and number of the pseudo labels of each class."""


@torch.no_grad()
def teach(teacher: LinearFusionSegFormer, batch: Batch, method: Method) -> Tensor:
    """Logits (B, K, H, W) of a teacher, which sees the weak view with every sensor that was recorded."""
    was_training = teacher.training
    teacher.train(method.teacher_mode == "train")
    ensemble = teacher.ensemble(teacher(batch.weak, batch.recorded), batch.recorded).float()
    if method.teacher_flip:
        mirrored = teacher.ensemble(teacher(batch.weak.flip(-1), batch.recorded), batch.recorded).float()
        ensemble = (ensemble + mirrored.flip(-1)) / 2
    teacher.train(was_training)
    # torch 2.6 to 2.9 keep the weights that autocast has cast here, without a gradient, for the passes after this one:
    # two students that label for each other would not learn.
    torch.clear_autocast_cache()
    return upsample(ensemble, _size(batch.weak))


def objective(
    student: LinearFusionSegFormer,
    forward: Forward,
    teacher: LinearFusionSegFormer | None,
    batch: Batch,
    recipe: Recipe,
    ramp: float,
    ranks: Ranks,
) -> Objective:
    """Run a student on a batch and compare its outputs with labels and teacher.

    Args:
        student: whose weights the losses' gradients reach.
        forward: runs it; the student itself, compiled, or over several ranks.
        teacher: labels for it; None: labels alone.
        batch: of this rank.
        recipe: the method and its weights.
        ramp: share of the teacher's losses' weights that counts yet.
        ranks: the processes that share the batch.
    """
    method = recipe.method
    taught = None if teacher is None else teach(teacher, batch, method)
    view = student_view(batch, taught, method)
    seen = recipe.network_streams
    images, present, kept = view.images[:, seen], view.present[:, seen], view.kept[:, seen]
    streams = forward(images, present, kept if method.loses_tokens else None)
    # The ensemble is an output as well: it is what is used, and without it alpha would never learn.
    outputs = [*streams] if student.joins else [*streams, student.ensemble(streams, present)]
    exists = present.any(dim=1).repeat(len(outputs), 1)
    if student.config.missing == "no_stream":
        exists[:-1] = present.T
    pseudo = None if view.taught is None else pseudo_labels(view, method)
    teaching = None
    if view.taught is not None and method.distillation_weight:
        teaching = (view.taught / method.temperature).log_softmax(dim=1)
    sums: dict[str, list[PixelSum]] = {}
    for logits, of_sample in zip(outputs, exists[:, :, None, None], strict=True):
        # With the classes outermost, what is done for each pixel is done for many at once.
        planes = logits.float().contiguous()
        log_probabilities = upsample(planes, _size(view.label)).log_softmax(dim=1)
        label = view.label.where(of_sample, IGNORE)
        sums.setdefault("supervised", []).append(ohem_cross_entropy(log_probabilities, label, recipe.ohem_threshold))
        if pseudo is None:
            continue
        weight, counted = pseudo.weight * of_sample, pseudo.counted & of_sample
        sums.setdefault("pseudo", []).append(pseudo_cross_entropy(log_probabilities, pseudo.classes, weight, counted))
        if teaching is not None:
            imitating = (log_probabilities / method.temperature).log_softmax(dim=1)
            sums.setdefault("distillation", []).append(divergence(imitating, teaching, weight, counted))
    weights = {
        "supervised": 1.0,
        "pseudo": ramp * method.pseudo_weight,
        "distillation": ramp * method.distillation_weight * method.temperature**2,
    }
    terms = {
        name: weights[name] * torch.stack([ranks.mean(pixels) for pixels in of_outputs]).mean()
        for name, of_outputs in sums.items()
    }
    return Objective(terms, _by_class(pseudo, student.config.num_classes))


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]


def _by_class(pseudo: PseudoLabels | None, num_classes: int) -> Tensor:
    """(2, K) weight and number of the pixels that are taken for each class."""
    if pseudo is None:
        return torch.zeros(2, num_classes)
    values = torch.stack([pseudo.weight, pseudo.counted.float()]).flatten(1)
    totals = values.new_zeros(2, num_classes)
    return totals.index_add_(1, pseudo.classes.flatten(), values).cpu()
