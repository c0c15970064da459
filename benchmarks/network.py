#!/usr/bin/env python3
"""How much faster the stacked, folded network is than the published order of computation, in one run.

    python benchmarks/network.py                      # MiT b0 at 480x640, two threads

Both end with labels at the input's size. Rounds alternate, so that a change of the machine's speed meets all alike.
"""

from __future__ import annotations

import argparse
import time
from statistics import median, quantiles

import torch
from torch import Tensor

from benchmarks.published_order import PublishedOrder
from m3l_core.model.network import LinearFusionSegFormer, upsample, winning_classes
from m3l_core.network_config import NetworkConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="mit_b0")
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("H", "W"))
    parser.add_argument("--classes", type=int, default=13)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    network = LinearFusionSegFormer(NetworkConfig(encoder=arguments.encoder, num_classes=arguments.classes)).eval()
    network.requires_grad_(False)
    published = PublishedOrder(network)
    half = LinearFusionSegFormer(network.config).eval()
    half.load_state_dict(network.state_dict())
    half.requires_grad_(False).bfloat16()
    size = tuple(arguments.size)
    images, present = torch.randn(1, 2, 3, *size), torch.ones(1, 2, dtype=torch.bool)

    def ours(run: LinearFusionSegFormer, source: Tensor) -> Tensor:
        return winning_classes(run.ensemble(run(source, present), present).float(), size)

    def theirs() -> Tensor:
        return upsample(network.ensemble(published(images, present), present), size).argmax(dim=1)

    candidates = {
        "published order, fp32": theirs,
        "stacked and folded, fp32": lambda: ours(network, images),
        "stacked and folded, bf16": lambda: ours(half, images.bfloat16()),
    }
    with torch.inference_mode():
        difference = (published(images, present) - network(images, present)).abs().max().item()
        seconds: dict[str, list[float]] = {name: [] for name in candidates}
        for turn in range(arguments.runs + 3):
            for name, run in candidates.items():
                started = time.perf_counter()
                run()
                if turn >= 3:
                    seconds[name].append(time.perf_counter() - started)
    print(f"{arguments.encoder} {size[0]}x{size[1]}, {arguments.threads} threads, {arguments.runs} runs each")
    print(f"largest difference of the logits, fp32: {difference:.1e}")
    baseline = median(seconds["published order, fp32"])
    for name, values in seconds.items():
        low, _, high = quantiles(values, n=4)
        ratio = baseline / median(values)
        print(
            f"{name:26} {median(values) * 1e3:7.1f} ms (quartiles {low * 1e3:.1f} to {high * 1e3:.1f}), {ratio:.2f} x"
        )


if __name__ == "__main__":
    main()
