"""Upsampling as products of matrices is bilinear upsampling, values and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from m3l_core.model.upsampling import bilinear, bilinear_by_products

pytestmark = pytest.mark.needs("torch")
SIDES = st.integers(1, 12)


@given(SIDES, SIDES, st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(0, 9))
def test_both_ways_are_one(h: int, w: int, height: int, width: int, align_corners: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    found, expected = (torch.randn(2, 3, h, w, generator=generator.manual_seed(seed)).requires_grad_() for _ in "12")
    upsampled = bilinear_by_products(found, (height, width), align_corners)
    reference = functional.interpolate(expected, (height, width), mode="bilinear", align_corners=align_corners)
    torch.testing.assert_close(upsampled, reference, atol=1e-5, rtol=1e-5)
    weights = torch.randn(upsampled.shape, generator=generator)
    (upsampled * weights).sum().backward()
    (reference * weights).sum().backward()
    torch.testing.assert_close(found.grad, expected.grad, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_precision_is_that_of_the_images_also_under_autocast(dtype: torch.dtype) -> None:
    images = torch.randn(1, 2, 4, 6).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        upsampled = bilinear_by_products(images, (8, 12), True)
    assert upsampled.dtype == dtype
    expected = bilinear(images.float(), (8, 12), True)
    torch.testing.assert_close(upsampled.float(), expected, atol=1e-5 if dtype == torch.float32 else 0.05, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
def test_on_a_gpu_gradients_repeat_themselves() -> None:
    from m3l_core.trainer.repeatability import repeatable

    images = torch.randn(4, 8, 60, 80, device="cuda", requires_grad=True)
    weights = torch.randn(4, 8, 240, 320, device="cuda")
    with repeatable(images.device):
        first, second = (
            torch.autograd.grad((bilinear(images, (240, 320), True) * weights).sum(), images)[0] for _ in "12"
        )
    assert torch.equal(first, second)
    assert not torch.are_deterministic_algorithms_enabled()
