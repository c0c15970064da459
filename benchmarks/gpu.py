#!/usr/bin/env python3
"""What this machine's GPU does for the engines and for training, in a minute or two; TensorRT has m3l_check_gpu.

    python -m benchmarks.gpu --engines                       # which libraries reach it; labels and times of each engine
    python -m benchmarks.gpu --training DATA/frames.json     # a short training, twice: the same numbers, and how fast

Engines run the shipped bundle on the sample recording; labels are compared with those of torch in float32 on the CPU.
Without a GPU the same is done on the CPU.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from m3l_core.bundle import ModelBundle
from m3l_core.command_line import run
from m3l_core.datasets.folder import read_index
from m3l_core.datasets.model_inputs import read_model_inputs
from m3l_core.engines import check_gpu, torch_engine
from m3l_core.engines.engine import Engine, load_engine
from m3l_core.engines.subset_engine import SubsetEngine
from m3l_core.errors import DatasetError, M3LError, require
from m3l_core.shipped import shipped_bundle, shipped_recording
from m3l_core.trainer.data import TrainingData
from m3l_core.trainer.recipe import load_recipe

RECIPES = Path(__file__).parents[1] / "training" / "recipes"
ENGINES = (("torch", "fp32"), ("torch", "bf16"), ("onnxruntime", "fp32"), ("onnxruntime", "fp16"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", action="store_true", help="compare the engines")
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("H", "W"), help="of the labels")
    parser.add_argument("--runs", type=int, default=200, help="frames that each engine is timed on")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU (default: the libraries' choice)")
    parser.add_argument("--training", type=Path, metavar="INDEX", help="train on these frames with labels")
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--crop", type=int, nargs=2, default=(240, 320), metavar=("H", "W"), help="trained on")
    arguments = parser.parse_args()
    if not arguments.engines and arguments.training is None:
        parser.error("nothing to do: give --engines or --training INDEX")
    print("\n".join(libraries()), flush=True)
    if arguments.engines:
        print("\n".join(["", *compared(tuple(arguments.size), arguments.runs, arguments.threads)]), flush=True)
    if arguments.training is not None:
        if arguments.threads:
            require("torch", "train").set_num_threads(arguments.threads)
        print("\n".join(["", *trained_twice(arguments.training, arguments.iterations, arguments.crop)]), flush=True)


def libraries() -> list[str]:
    """What torch and ONNX Runtime say of a GPU."""
    torch = require("torch", "train")
    runtime = require("onnxruntime", "train")
    lines = [f"torch {torch.__version__}, built for CUDA {torch.version.cuda}"]
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        lines.append(
            f"torch sees {torch.cuda.get_device_name()}, compute capability {major}.{minor}; its kernels are of "
            f"{', '.join(torch.cuda.get_arch_list())}; cuDNN {torch.backends.cudnn.version()}"
        )
    else:
        lines.append("torch sees no GPU")
    return [*lines, f"onnxruntime {runtime.__version__} has {', '.join(runtime.get_available_providers())}"]


def compared(size: tuple[int, int], runs: int, threads: int) -> list[str]:
    """The table of ``m3l_check_gpu`` for the engines that need nothing built, and why others are not in it."""
    bundle = ModelBundle.load(shipped_bundle())
    frames = read_model_inputs(shipped_recording(), bundle.description, 4)
    engines, absent = [], []
    for name, precision in ENGINES:
        try:
            engines.append(load_engine(bundle, name, precision, threads))
        except M3LError as error:
            absent.append(f"not {name} {precision}: {error}")
    rows, _ = check_gpu.compare(on_cpu(bundle), engines, frames, bundle.description.modality_names, size, runs)
    return [f"shipped bundle, input {bundle.description.input_size}, labels {size}", "", *rows, "", *absent]


def on_cpu(bundle: ModelBundle) -> Engine:
    """The network in float32 where no GPU rounds."""

    def load(network: ModelBundle) -> Engine:
        return torch_engine.load(network, "fp32", device="cpu")

    of_subsets = {bundle.streams_of(network): load(network) for network in bundle.subset_bundles().values()}
    return SubsetEngine(load(bundle), of_subsets)


def trained_twice(index: Path, iterations: int, crop: tuple[int, int]) -> list[str]:
    """A training from random weights, and the same once more.

    Raises:
        DatasetError: the index has fewer than four frames.
        M3LError: the second one came to other numbers.
    """
    import torch

    from m3l_core.trainer.trainer import Trainer

    phase = f"phases=[{{iterations: {iterations}, batch: 4, crop: {list(crop)}, scale: [0.9, 1.2]}}]"
    settings = ["encoder=efficientnet_lite0", phase, f"evaluate_every={iterations}", "optimizer.warmup_iterations=1"]
    recipe = load_recipe([RECIPES / "methods" / "m3l_plus.yaml", RECIPES / "data" / "rooms.yaml"], settings)
    recipe = recipe.model_copy(update={"labels": ModelBundle.load(shipped_bundle()).description.labels})
    samples = read_index(index, [modality.name for modality in recipe.modalities])
    if len(samples) < 4:
        raise DatasetError(f"{index} has {len(samples)} frames, expected four or more with labels")
    half = len(samples) // 2
    data = TrainingData(samples[:half], samples[half:-2], samples[-2:])
    outcomes = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(recipe, data, Path(folder), workers=min(4, os.cpu_count() or 1), cache_bytes=1 << 30)
            network = trainer.run()
            weights = {name: value.cpu() for name, value in network.state_dict().items()}
            outcomes.append((trainer.losses, weights))
    (losses, weights), (others, other_weights) = outcomes
    same = losses == others and all(torch.equal(value, other_weights[name]) for name, value in weights.items())
    rate = iterations / trainer.seconds
    lines = [
        f"training on {trainer.device.type}: m3l_plus, efficientnet_lite0, 4 + 4 samples of {crop[0]}x{crop[1]}, "
        f"bf16: {iterations} iterations twice, {rate:.2f} iterations a second, of which it waited "
        f"{trainer.waited / trainer.seconds:.0%} for data; loss {losses[0]['loss']:.3f} to {losses[-1]['loss']:.3f}",
        "both came to the same losses and weights, bit by bit" if same else "THE TWO DIFFER",
    ]
    if not same:
        differing = sum(mine != theirs for mine, theirs in zip(losses, others, strict=True))
        raise M3LError("\n".join([*lines, f"{differing} of {iterations} losses are not the same"]))
    return lines


if __name__ == "__main__":
    run(main)
