"""Bilinear upsampling, whose gradient is the same each time if that is asked for."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional


def bilinear(images: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """(B, C, h, w) -> (B, C, *size)."""
    if images.is_cuda and torch.are_deterministic_algorithms_enabled():
        return bilinear_by_products(images, size, align_corners)  # torch's own way takes several times as long
    return functional.interpolate(images, size, mode="bilinear", align_corners=align_corners)


def bilinear_by_products(images: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """The same as two products of matrices, which add up in one order."""
    with torch.autocast(images.device.type, enabled=False):  # in the images' own precision
        rows, columns = (
            _weights(old, new, align_corners, images.device, images.dtype)
            for old, new in zip(images.shape[-2:], size, strict=True)
        )
        return rows.T @ (images @ columns)


@lru_cache(maxsize=64)
def _weights(old: int, new: int, align_corners: bool, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(old, new) the share of each old pixel in each new one."""
    with torch.inference_mode(False), torch.no_grad():
        each = torch.eye(old, device=device)[None]
        return functional.interpolate(each, new, mode="linear", align_corners=align_corners)[0].to(dtype)
