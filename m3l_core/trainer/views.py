"""From a batch and what the teacher says about it to what the student sees and is taught.

Legend: B samples, M modalities, K classes, H x W pixels, h x w = H/4 x W/4 tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from m3l_core.trainer.batches import Batch
from m3l_core.trainer.method import Method


class StudentView(NamedTuple):
    """What a student sees, and what is known about it."""

    images: Tensor
    """(B, M, 3, H, W) float32."""
    present: Tensor
    """(B, M) bool."""
    kept: Tensor
    """(B, M, h, w) bool."""
    label: Tensor
    """(B, H, W) int64, 255 = unknown."""
    inside: Tensor
    """(B, H, W) bool: no padding."""
    labelled: Tensor
    """(B,) bool: comes from the labelled list, even if this view shows no labelled pixel."""
    taught: Tensor | None
    """(B, K, H, W) float32 logits of the teacher, which saw every sensor; None without one."""


class PseudoLabels(NamedTuple):
    """What a teacher's logits say."""

    classes: Tensor
    """(B, H, W) int64."""
    weight: Tensor
    """(B, H, W) float32: how much each pixel counts."""
    counted: Tensor
    """(B, H, W) bool: the pixels that could count."""


def student_view(batch: Batch, taught: Tensor | None, method: Method) -> StudentView:
    """Mix unlabelled samples with their neighbours (CutMix), repeat the labelled ones with every sensor (M3L)."""
    label = batch.label.long()
    labelled = batch.source[:, 0] == 0
    num_labelled = int(labelled.sum())  # they come first
    view = StudentView(batch.strong, batch.present, batch.kept, label, batch.inside, labelled, taught)
    if method.cutmix:
        partner = torch.cat([_neighbours(num_labelled), _neighbours(len(label) - num_labelled) + num_labelled])
        partner = partner.to(label.device)
        # Else a rectangle without depth would count as a view with depth.
        alike = (batch.recorded == batch.recorded[partner]).all(dim=1)
        mixed = batch.mixed & alike[:, None, None]
        view = StudentView(
            _mix(mixed, partner, view.images),
            view.present,
            view.kept,
            view.label,  # of what is mixed, nobody knows the label
            _mix(mixed, partner, view.inside),
            labelled,
            None if taught is None else _mix(mixed, partner, taught),
        )
    if method.clean_labelled_copy:
        copied = slice(0, num_labelled)
        view = StudentView(
            torch.cat([view.images[copied], view.images]),
            torch.cat([batch.recorded[copied], view.present]),
            torch.cat([torch.ones_like(view.kept[copied]), view.kept]),
            torch.cat([view.label[copied], view.label]),
            torch.cat([view.inside[copied], view.inside]),
            torch.cat([labelled[copied], labelled]),
            None if view.taught is None else torch.cat([view.taught[copied], view.taught]),
        )
    return view


def pseudo_labels(view: StudentView, method: Method) -> PseudoLabels:
    """Read classes and weights off the teacher's logits, which ``view`` must have."""
    assert view.taught is not None
    confidence, classes = view.taught.softmax(dim=1).max(dim=1)
    counted = view.inside if method.valid_mask else torch.ones_like(view.inside)
    if not method.pseudo_on_labelled:
        counted = counted & ~view.labelled[:, None, None]
    if method.confidence == "weight":
        weight = confidence * counted
    elif method.confidence == "threshold":
        weight = ((confidence >= method.confidence_threshold) & counted).float()
    else:
        weight = counted.float()
    return PseudoLabels(classes, weight, counted)


def _neighbours(count: int) -> Tensor:
    """(count,) each one's partner: 0 and 1, 2 and 3, ...; an odd last one has itself."""
    return (torch.arange(count) ^ 1).clamp(max=max(0, count - 1))


def _mix(mixed: Tensor, partner: Tensor, values: Tensor) -> Tensor:
    """Take ``values`` (B, ..., H, W) from the partner where ``mixed`` (B, H, W) is set."""
    where = mixed.view(len(mixed), *[1] * (values.dim() - 3), *mixed.shape[1:])
    return torch.where(where, values[partner], values)
