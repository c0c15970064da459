#!/usr/bin/env python3
"""How much faster an M3L training step is than the same step done the published way, in one run.

    python -m benchmarks.training_step                  # MiT b0, 4 labelled + 4 unlabelled, 240x320, two threads

On the GPU if there is one. The published way: student and teacher both run on [labelled, labelled again, unlabelled],
modality after modality, with the unfolded head. Rounds alternate, so that a change of the machine's speed meets all
alike.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from statistics import median, quantiles

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.published_order import PublishedOrder
from m3l_core.model.network import LinearFusionSegFormer, upsample
from m3l_core.trainer.batches import Batch
from m3l_core.trainer.distributed import Ranks
from m3l_core.trainer.objective import objective
from m3l_core.trainer.optimization import new_networks
from m3l_core.trainer.recipe import Recipe, load_recipe

RECIPES = Path(__file__).parents[1] / "training" / "recipes"


def random_batch(recipe: Recipe, number: int, size: tuple[int, int]) -> Batch:
    """``number`` labelled and as many unlabelled samples, each third of them without color, depth or nothing."""
    count, modalities = 2 * number, len(recipe.modalities)
    images = torch.randn(count, modalities, 3, *size)
    whole = torch.ones(count, modalities, dtype=torch.bool)
    present = whole.clone()
    for sample in range(count):
        if lost := sample % (modalities + 1):
            present[sample, lost - 1] = False
    label = torch.randint(len(recipe.labels), (count, *size), dtype=torch.uint8)
    label[number:] = 255
    source = torch.tensor([[int(sample >= number), 0] for sample in range(count)])
    inside = torch.ones(count, *size, dtype=torch.bool)
    kept = torch.ones(count, modalities, size[0] // 4, size[1] // 4, dtype=torch.bool)
    return Batch(images, images, whole, present, kept, label, inside, ~inside, source)


def published_loss(student: PublishedOrder, teacher: PublishedOrder, batch: Batch) -> Tensor:
    """Both networks on all three parts; cross-entropy to labels and to pseudo labels, over every output."""
    number = len(batch.label) // 2
    images = torch.cat([batch.weak[:number], batch.weak])
    present = torch.cat([batch.recorded[:number], batch.present])
    everything = torch.ones_like(present)
    size = (images.shape[-2], images.shape[-1])
    with torch.no_grad():
        taught = upsample(teacher.network.ensemble(teacher(images, everything), everything), size).argmax(dim=1)
    streams = student(images, present)
    label = torch.cat([batch.label[:number], batch.label]).long()
    losses = []
    for logits in (*streams, student.network.ensemble(streams, present)):
        full = upsample(logits, size)
        losses.append(functional.cross_entropy(full, label, ignore_index=255) + functional.cross_entropy(full, taught))
    return torch.stack(losses).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="mit_b0")
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=4, help="labelled samples, and as many unlabelled ones")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    files = [RECIPES / "methods" / "paper_m3l.yaml", RECIPES / "data" / "rooms.yaml"]
    recipe = load_recipe(files, [f"encoder={arguments.encoder}", "ohem_threshold=1", "drop_path=0"])
    size = (arguments.size[0], arguments.size[1])
    device = Ranks().device
    batch = Batch(*(tensor.to(device) for tensor in random_batch(recipe, arguments.batch, size)))

    def stepping(loss_of: Callable[[LinearFusionSegFormer, LinearFusionSegFormer], Tensor]) -> Callable[[], None]:
        (student,), _ = new_networks(recipe)
        student.to(device)
        teacher = deepcopy(student).requires_grad_(False)
        optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4)

        def step() -> None:
            optimizer.zero_grad()
            loss_of(student, teacher).backward()
            optimizer.step()
            if device.type == "cuda":
                torch.cuda.synchronize()

        return step

    def ours(mixed: bool) -> Callable[[LinearFusionSegFormer, LinearFusionSegFormer], Tensor]:
        def loss(student: LinearFusionSegFormer, teacher: LinearFusionSegFormer) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
                terms = objective(student, student, teacher, batch, recipe, 1.0, Ranks()).terms
            return torch.stack([*terms.values()]).sum()

        return loss

    candidates = {
        "published way, fp32": stepping(lambda s, t: published_loss(PublishedOrder(s), PublishedOrder(t), batch)),
        "ours, fp32": stepping(ours(mixed=False)),
        "ours, bf16": stepping(ours(mixed=True)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(arguments.runs + 2):
        for name, step in candidates.items():
            started = time.perf_counter()
            step()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - started)
    print(
        f"{arguments.encoder} {size[0]}x{size[1]}, {arguments.batch} + {arguments.batch} samples, {device.type}, "
        f"{arguments.threads} threads, {arguments.runs} runs each"
    )
    baseline = median(seconds["published way, fp32"])
    for name, values in seconds.items():
        low, _, high = quantiles(values, n=4)
        print(
            f"{name:20} {median(values) * 1e3:7.0f} ms (quartiles {low * 1e3:.0f} to {high * 1e3:.0f}), "
            f"{baseline / median(values):.2f} x"
        )


if __name__ == "__main__":
    main()
