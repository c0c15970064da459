"""segment_node with an engine that takes as many seconds over each frame set as M3L_TEST_SECONDS says."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import rclpy
from support.engines import ConstantEngine, loader

from m3l_core.frames import ModelInput, Segmentation
from m3l_ros.segment_node import SegmentNode, spin


class SlowEngine(ConstantEngine):
    def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        time.sleep(float(os.environ["M3L_TEST_SECONDS"]))
        return super().infer(model_input, size)


rclpy.init()
spin(SegmentNode(loader(SlowEngine())))
