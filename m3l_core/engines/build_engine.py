"""``m3l_build_engine``: a bundle's graph into a TensorRT engine for this machine, in the user's cache.

    m3l_build_engine my_bundle

TensorRT tries many kernels on the GPU that will run them, so an engine is built on the robot: once, within minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from m3l_core.bundle import ModelBundle
from m3l_core.command_line import run
from m3l_core.engines.cuda_device import CudaDevice, cuda_device
from m3l_core.engines.cuda_driver import find_driver
from m3l_core.engines.engine import graph_of
from m3l_core.engines.engine_cache import EngineFacts, StoredEngine, engine_folder, graph_digests, read, store
from m3l_core.engines.label_sizes import LabelSizes
from m3l_core.engines.onnx_typing import TYPED, load_graph, typed, with_casts_last, with_size
from m3l_core.engines.tensorrt_builder import BuildOptions, BuiltEngine, build, inspect
from m3l_core.engines.tensorrt_engine import PRECISIONS
from m3l_core.errors import EngineError, require
from m3l_core.shipped import shipped_bundle

MAX_SIZE = (720, 1280)
"""(H, W) of the largest label image unless asked otherwise; its logits take 4 bytes a pixel and class on the GPU."""


def main() -> None:
    run(_main)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", default=shipped_bundle(), help="default: the shipped bundle")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp16", help="default: fp16")
    add_build_arguments(parser)
    arguments = parser.parse_args()
    bundle = ModelBundle.load(arguments.bundle)
    options = build_options(arguments, bundle)
    require_packages()
    for network in bundle.networks():
        built = build_into_cache(network, arguments.precision, options, arguments.force)
        print(f"{built.report}\n{engine_folder() / built.facts.key}")


def add_build_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that ``build_options`` reads, and ``--force``."""
    sides = ("HEIGHT", "WIDTH")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--max-size",
        nargs=2,
        type=_side,
        metavar=sides,
        default=MAX_SIZE,
        help="largest label image (default: 720 1280)",
    )
    sizes.add_argument(
        "--size",
        nargs=2,
        type=_side,
        metavar=sides,
        help="label images of this size alone: less memory, a little faster",
    )
    parser.add_argument("--workspace-gb", type=float, help="GPU memory that one layer may use (default: all)")
    parser.add_argument(
        "--version-compatible", action="store_true", help="run on later TensorRT of the same major version, too"
    )
    parser.add_argument(
        "--hardware-compatible", action="store_true", help="run on other GPUs from Ampere on, too; not on a Jetson"
    )
    parser.add_argument("--force", action="store_true", help="build even if there is such an engine")


def build_options(arguments: argparse.Namespace, bundle: ModelBundle) -> BuildOptions:
    """What the arguments ask for.

    Raises:
        EngineError: a workspace that is not above 0.
    """
    workspace = arguments.workspace_gb
    if workspace is not None and not 0 < workspace < float("inf"):
        raise EngineError(f"--workspace-gb must be above 0, got {workspace}")
    return BuildOptions(
        LabelSizes.only(tuple(arguments.size))
        if arguments.size
        else LabelSizes.up_to(tuple(arguments.max_size), bundle.description.input_size),
        None if workspace is None else int(workspace * 2**30),
        arguments.version_compatible,
        arguments.hardware_compatible,
    )


def require_packages() -> None:
    """Find out before a build of minutes that the engine could not be run.

    Raises:
        EngineError: no driver or no GPU.
        MissingPackageError: names the package, and the extra that brings it.
    """
    cuda_device()
    find_driver()
    for package in ("tensorrt", "onnx"):
        require(package, "tensorrt")


def build_into_cache(bundle: ModelBundle, precision: str, options: BuildOptions, force: bool = False) -> StoredEngine:
    """The engine for this machine: the one in the cache if it is whole, else a new one; prints the progress.

    Raises:
        EngineError: no driver, no GPU, or TensorRT cannot build it.
        MissingPackageError: tensorrt or onnx is not installed.
        BundleError: the bundle has no graph for this precision.
    """
    device = cuda_device()
    trt = require("tensorrt", "tensorrt")
    facts = engine_facts(bundle, precision, options, trt.__version__, device)
    if not force:
        try:
            return read(facts.key)
        except EngineError:
            pass  # not built yet, or damaged: either way it is built now
    timing_cache = engine_folder() / f"timing-{trt.__version__}-{device.name.replace('/', '-')}.cache"
    _say(f"building a {precision} engine of {bundle.folder} for {device.name} with TensorRT {trt.__version__}")
    built = build(trt, prepared_graph(bundle, precision, options.label_sizes), options, timing_cache, _say)
    engine = StoredEngine(facts, built.content, _report(facts, built, inspect(trt, built.content)))
    store(engine)
    return engine


def engine_facts(
    bundle: ModelBundle, precision: str, options: BuildOptions, tensorrt: str, device: CudaDevice
) -> EngineFacts:
    """What an engine with these options is, on this machine."""
    graph_sha256, weights_sha256 = graph_digests(bundle, precision)
    return EngineFacts(
        graph_sha256=graph_sha256,
        weights_sha256=weights_sha256,
        precision=precision,
        label_sizes=options.label_sizes,
        tensorrt=tensorrt,
        gpu=device.name,
        compute_capability=device.compute_capability,
        workspace_bytes=options.workspace_bytes,
        version_compatible=options.version_compatible,
        hardware_compatible=options.hardware_compatible,
    )


def prepared_graph(bundle: ModelBundle, precision: str, sizes: LabelSizes) -> bytes:
    """The serialized ONNX model that TensorRT gets; one quantized beforehand says its types itself.

    Raises:
        BundleError: the bundle has no graph for this precision.
        EngineError: it is no graph of this package's, or cannot be typed for this precision.
    """
    model = with_casts_last(load_graph(graph_of(bundle, precision)))
    if precision in TYPED:
        model = typed(model, precision)
    if sizes.fixed:
        model = with_size(model, sizes.largest)
    content: bytes = model.SerializeToString()
    return content


def _report(facts: EngineFacts, built: BuiltEngine, layers: dict[str, int]) -> str:
    lines = [
        f"{facts.precision} engine for {facts.gpu}, TensorRT {facts.tensorrt}, labels {facts.label_sizes}: "
        f"built in {built.seconds:.0f} s, {len(built.content) / 2**20:.1f} MiB",
        "layers as built: "
        + (", ".join(f"{count} {name}" for name, count in layers.items()) or "TensorRT does not tell"),
        *(f"peak memory: {line}" for line in built.memory),
    ]
    if facts.precision != "fp32" and layers and facts.precision not in layers:
        lines.append(f"NOT A SINGLE LAYER computes in {facts.precision}")
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, flush=True)


def _side(text: str) -> int:
    side = int(text)
    if not 1 <= side <= 8192:
        raise argparse.ArgumentTypeError(f"expected 1 to 8192 pixels, got {side}")
    return side
