#!/usr/bin/env python3
"""Write a bundle's network as model.onnx, which the engines without torch run.

    python training/export_onnx.py runs/mine/bundle --frames my_bag

What ONNX Runtime labels with it is compared with torch first, on frames of a bag or of an index file.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from m3l_core.bundle import ModelBundle
from m3l_core.command_line import run
from m3l_core.datasets.model_inputs import read_model_inputs
from m3l_core.errors import require
from m3l_core.shipped import shipped_recording


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument(
        "--frames", type=Path, default=shipped_recording(), help="bag or index file (default: the sample recording)"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("m3l_core").setLevel(logging.INFO)
    require("torch", "train")
    from m3l_core.engines.onnx_export import export_onnx

    bundle = ModelBundle.load(arguments.bundle)
    exported = export_onnx(bundle, read_model_inputs(arguments.frames, bundle.description))
    print(f"written: {exported.graph()}")


if __name__ == "__main__":
    run(main)
