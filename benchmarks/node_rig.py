"""What the benchmarks of the running node share: a camera's messages, an engine that answers at once, and waiting."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from m3l_core.bundle import BundleDescription, ModelBundle, save_bundle
from m3l_core.frames import ModelInput, Segmentation
from m3l_core.labels import LabelSet, SemanticClass
from m3l_core.modalities import ColorModality, DepthModality
from m3l_core.network_config import NetworkConfig
from m3l_core.streaming.image_messages import fill_image

SIZE = (480, 640)
TOPICS = {"color": "color/image_raw", "depth": "depth/image_rect"}
TRANSPORTS = {"raw": ("raw", "raw"), "compressed": ("compressed", "compressedDepth")}
FAST_DDS_PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns="http://www.eprosima.com"><profiles>
  <transport_descriptors>
    <transport_descriptor><transport_id>shm</transport_id><type>SHM</type>
      <segment_size>{}</segment_size></transport_descriptor>
    <transport_descriptor><transport_id>udp</transport_id><type>UDPv4</type></transport_descriptor>
  </transport_descriptors>
  <participant profile_name="large_messages" is_default_profile="true"><rtps>
    <userTransports><transport_id>shm</transport_id><transport_id>udp</transport_id></userTransports>
    <useBuiltinTransports>false</useBuiltinTransports>
  </rtps></participant>
</profiles></dds>"""


class InstantEngine:
    """Labels everything as class 0, in no time."""

    name, precision, device = "instant", "none", "none"

    def __init__(self, bundle: ModelBundle, *options: Any) -> None: ...

    def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        return Segmentation(np.zeros(size, np.uint8), np.zeros(size, np.uint8))


def write_bundle(folder: Path) -> Path:
    """A bundle that only the instant engine can run: it has no network."""
    classes = tuple(SemanticClass(name=name, color=(0, 0, 0)) for name in ("one", "another"))
    description = BundleDescription(
        name="none",
        network=NetworkConfig(num_classes=2),
        labels=LabelSet(classes=classes),
        modalities=(ColorModality(), DepthModality()),
        input_height=SIZE[0],
        input_width=SIZE[1],
    )
    return save_bundle(folder, description, {"nothing": np.zeros(1)}, "").folder


def pair(index: int, transport: str, size: tuple[int, int] = SIZE) -> tuple[Any, Any]:
    """Color and depth message of a slope with noise, which compresses about as well as a room."""
    noise = np.random.default_rng(index)
    slope = np.linspace(40, 200, size[1])[None, :, None] + noise.normal(0, 4, (*size, 3))
    color = slope.astype(np.uint8)
    depth = (1000 + 10 * slope[..., 0]).astype(np.uint16)
    if transport == "raw":
        images = Image(), Image()
        fill_image(images[0], color, encoding="rgb8", frame_id="camera", stamp_ns=0)
        fill_image(images[1], depth, encoding="16UC1", frame_id="camera", stamp_ns=0)
        return images
    jpeg, png = (cv2.imencode(kind, array)[1].tobytes() for kind, array in ((".jpg", color), (".png", depth)))
    messages = (
        CompressedImage(format="rgb8; jpeg compressed bgr8", data=jpeg),
        CompressedImage(format="16UC1; compressedDepth png", data=struct.pack("<iff", 0, 0.0, 0.0) + png),
    )
    for message in messages:
        message.header.frame_id = "camera"
    return messages


def wait_until(condition: Callable[[], Any], what: str, step: Callable[[], None] = lambda: time.sleep(0.02)) -> None:
    """Take steps until a condition holds; 30 s at most, then TimeoutError says what did not come."""
    deadline_s = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"waited 30 s in vain until {what}")
        step()


def take_own_domain() -> None:
    """A DDS domain of this process's own, on this machine alone."""
    # Tests take domains below 102, where another node would answer what is asked of ours. Of the others, 215 to 232
    # alone leave the ports of outgoing connections free.
    os.environ["ROS_DOMAIN_ID"] = str(215 + os.getpid() % 18)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"


def own_domain(folder: Path, shared_memory_mb: int = 32) -> None:
    """The same, with room for images in shared memory.

    Args:
        folder: where Fast DDS's profile is written.
        shared_memory_mb: of Fast DDS; 0 leaves its own 512 kB.
    """
    take_own_domain()
    if shared_memory_mb:
        profile = folder / "fastdds.xml"
        profile.write_text(FAST_DDS_PROFILE.format(shared_memory_mb * 1_000_000))
        os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(profile))


def cpu_seconds(pid: int) -> float:
    """That a process has used, from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
