"""Label one pair of images, then the depth image alone. No ROS, no torch: numpy arrays in, numpy arrays out."""

import cv2
import numpy as np

from m3l_core.bundle import ModelBundle
from m3l_core.engines.engine import load_engine
from m3l_core.frames import Frame, FrameSet
from m3l_core.segmenter import Segmenter
from m3l_core.shipped import shipped_bundle

bundle = ModelBundle.load(shipped_bundle())  # or the folder of your own
segmenter = Segmenter(bundle.description, load_engine(bundle, "openvino"))  # "auto": the fastest that is installed

color = Frame("color", stamp_ns=0, data=np.full((480, 640, 3), 127, np.uint8))  # (H, W, 3) RGB
depth = Frame("depth", stamp_ns=0, data=np.full((480, 640), 1500, np.uint16))  # (H, W) millimetres, 0 = no return

both = segmenter.segment(FrameSet("color", {"color": color, "depth": depth}))
alone = segmenter.segment(FrameSet("depth", {"depth": depth}, missing={"color": "the camera is unplugged"}))

for labels in (both.labels, alone.labels):  # (H, W) uint8, 255 = unlabelled
    print({bundle.description.labels.names[number] for number in np.unique(labels)})
cv2.imwrite("labels.png", cv2.cvtColor(bundle.description.labels.colorize(both.labels), cv2.COLOR_RGB2BGR))
