"""What Nav2's semantic layer, nvblox, Hydra and RTAB-Map take, by their own sources, from the node over real DDS.

Each stand-in subscribes with the consumer's QoS, pairs by its rule and makes its checks; docs/consumers.md names the
sources. The node runs with the consumer's file in config/consumers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import yaml
from rclpy.qos import (
    DurabilityPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_sensor_data,
    qos_profile_system_default,
)
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from support import messages
from support.driver import COLOR, DEPTH, Driver
from support.engines import ConstantEngine, loader
from support.messages import pixels_of
from support.needs import why_missing
from support.rig import ROOT, Rig

from m3l_core.bundle import ModelBundle
from m3l_core.frames import ModelInput, Segmentation
from m3l_core.label_space import label_space, usual_roles
from m3l_core.shipped import shipped_bundle
from m3l_core.streaming.image_messages import stamp_to_ns
from m3l_core.streaming.stock_synchronizer import stock_sets

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]
FILES = ROOT / "config" / "consumers"
SIZE = (48, 64)
LABELS = ModelBundle.load(shipped_bundle()).description.labels
PERSON = LABELS.names.index("person")
BEST_EFFORT = ReliabilityPolicy.BEST_EFFORT


class EveryClass(ConstantEngine):
    """Stripes of every class of the bundle, the first ones unsure."""

    def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        columns = np.arange(size[1]) * len(LABELS) // size[1]
        labels = np.broadcast_to(columns.astype(np.uint8), size).copy()
        confidence = np.full(size, 200, np.uint8)
        confidence[: size[0] // 4] = 60
        return Segmentation(labels, confidence)


class Consumer:
    """Subscribes to topics and keeps what comes, by topic and in the order of arrival."""

    def __init__(self, driver: Driver, topics: Mapping[str, type], qos: QoSProfile) -> None:
        self.arrived: list[tuple[str, int]] = []
        self.heard: dict[tuple[str, int], Any] = {}
        for topic, kind in topics.items():
            driver.node.create_subscription(kind, topic, self._taker(topic), qos)
        self._topics = list(topics)
        self._driver = driver

    def _taker(self, topic: str) -> Callable[[Any], None]:
        def take(message: Any) -> None:
            key = topic, stamp_to_ns(message.header.stamp)
            self.arrived.append(key)
            self.heard[key] = message

        return take

    def exact_set(self, stamp_ns: int) -> list[Any] | None:
        """message_filters' ExactTime."""
        found = [self.heard.get((topic, stamp_ns)) for topic in self._topics]
        return None if any(message is None for message in found) else found

    def approximate_set(self, stamp_ns: int, slop_s: float = 0.1) -> list[Any] | None:
        """message_filters' ApproximateTime of these topics."""
        sets = stock_sets(self.arrived, self._topics, round(slop_s * 1e9))
        return self.exact_set(stamp_ns) if stamp_ns in {each.stamp_ns for each in sets} else None

    def wait_for_set(self, rule: Callable[[int], list[Any] | None]) -> list[Any]:
        def send() -> int:
            driver = self._driver
            driver.send("/color/camera_info", camera_info(), driver.stamp_ns + 100_000_000)
            return driver.send_pair()

        return self._driver.repeat("set of messages", send, rule)


def camera_info() -> CameraInfo:
    height, width = SIZE
    k = [60.0, 0.0, width / 2, 0.0, 60.0, height / 2, 0.0, 0.0, 1.0]
    info = CameraInfo(height=height, width=width, k=k, distortion_model="plumb_bob", d=[0.0] * 5)
    info.p = [k[0], 0.0, k[2], 0.0, 0.0, k[4], k[5], 0.0, 0.0, 0.0, 1.0, 0.0]
    info.header.frame_id = "color_optical_frame"
    return info


@contextmanager
def running_with(name: str) -> Iterator[Driver]:
    """The node with a consumer's file, and its driver."""
    cli_args = ["--ros-args", "--params-file", str(FILES / name)]
    with Rig(shipped_bundle(), {"sync_timeout": 0.3}, loader(EveryClass()), cli_args) as rig:
        driver = rig.driver
        driver.make_color = lambda seed: messages.color(seed, SIZE)
        driver.make_depth = lambda seed: messages.depth(seed, SIZE)
        yield driver
        assert driver.lines("there is no parameter") == []


def section(name: str, *path: str) -> dict[str, Any]:
    found = yaml.safe_load((FILES / name).read_text())
    for part in path:
        found = found[part]
    return dict(found)


def test_nav2_semantic_segmentation_layer() -> None:
    with running_with("nav2_semantic_segmentation_layer.yaml") as driver:
        layer = section("nav2_semantic_segmentation_layer.yaml", "local_costmap", "local_costmap", "ros__parameters")
        source = layer["semantic_layer"]["camera"]
        topics = {source["segmentation_topic"]: Image, source["confidence_topic"]: Image}
        topics[source["pointcloud_topic"]] = PointCloud2
        qos = QoSProfile(depth=50, reliability=BEST_EFFORT)
        consumer = Consumer(driver, topics, qos)
        mask, confidence, cloud = consumer.wait_for_set(consumer.approximate_set)
        assert mask.width * mask.height == cloud.width * cloud.height  # else "sizes are different"
        assert f"{mask.width}x{mask.height}" == "320x240"  # as the file says
        assert mask.encoding == confidence.encoding == "mono8"
        assert len(mask.data) == len(confidence.data) == mask.width * mask.height  # indexed without the step
        assert cloud.header.frame_id == mask.header.frame_id  # transformed by TF
        offsets = {field.name: field.offset for field in cloud.fields if field.datatype == PointField.FLOAT32}
        assert {"x", "y", "z"} <= offsets.keys() and not cloud.is_bigendian
        z = np.ndarray(
            (cloud.height, cloud.width), np.float32, cloud.data, offsets["z"], (cloud.row_step, cloud.point_step)
        )
        assert np.isfinite(z).any() and np.nanmin(z) > 0
        costs = {name: source[kind] for kind in source["class_types"] for name in source[kind]["classes"]}
        seen = {LABELS.names[number] for number in np.unique(pixels_of(mask)) if number != 255}
        assert seen == set(LABELS.names) == costs.keys()
        assert (pixels_of(mask)[pixels_of(confidence) < 128] == 255).all()
        assert {name for name, each in costs.items() if each["max_cost"] == 254} == seen - {"floor", "ceiling"}
        if why_missing("vision_msgs") is None:
            assert label_info(driver, source["labels_topic"]) == dict(enumerate(LABELS.names))


def label_info(driver: Driver, topic: str) -> dict[int, str]:
    from vision_msgs.msg import LabelInfo

    heard: list[LabelInfo] = []
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    driver.node.create_subscription(LabelInfo, topic, heard.append, qos)
    driver.wait_for("label_info", lambda: heard)
    return {entry.class_id: entry.class_name for entry in heard[0].class_map}


def test_every_class_of_the_nav2_file_has_every_parameter_that_the_layer_reads() -> None:
    layer = section("nav2_semantic_segmentation_layer.yaml", "local_costmap", "local_costmap", "ros__parameters")
    source = layer["semantic_layer"]["camera"]
    classes = [name for kind in source["class_types"] for name in source[kind]["classes"]]
    assert sorted(classes) == sorted(LABELS.names)  # each once
    for kind in source["class_types"]:
        costs = {name: source[kind][name] for name in ("base_cost", "max_cost", "mark_confidence")}
        assert all(isinstance(cost, int) and 0 <= cost <= 255 for cost in costs.values())
        assert isinstance(source[kind]["samples_to_max_cost"], int)
        assert isinstance(source[kind]["dominant_priority"], bool)


def test_isaac_ros_nvblox() -> None:
    with running_with("isaac_ros_nvblox.yaml") as driver:
        wanted = section("isaac_ros_nvblox.yaml", "/**/nvblox_node", "ros__parameters")
        assert wanted["use_segmentation"] and wanted["mapping_type"].startswith("human_with_static")
        mask_topics = {"/segmentation/mask_of_interest": Image, "/segmentation/camera_info": CameraInfo}
        color_topics = {COLOR: Image, "/color/camera_info": CameraInfo, **mask_topics}
        color = Consumer(driver, color_topics, qos_profile_system_default)
        as_in_the_file = Consumer(driver, color_topics, qos_profile_sensor_data)
        depth = Consumer(driver, {DEPTH: Image, **mask_topics}, qos_profile_sensor_data)
        *_, mask, info = color.wait_for_set(color.exact_set)
        assert as_in_the_file.wait_for_set(as_in_the_file.exact_set)
        assert depth.wait_for_set(depth.approximate_set)
        assert mask.encoding == "mono8"  # else "Invalid mask image encoding"
        assert mask.step == mask.width  # its rows are read without the step
        assert (info.height, info.width) == (mask.height, mask.width) and info.k[0] > 0
        assert info.header == mask.header
        masked = pixels_of(mask)
        assert set(np.unique(masked)) == {0, 255}
        stripes = np.arange(mask.width) * len(LABELS) // mask.width
        np.testing.assert_array_equal(masked[-1] == 255, stripes == PERSON)


def test_hydra() -> None:
    with running_with("hydra.yaml") as driver:
        unlabelled = section("hydra.yaml", "/**/segment_node", "ros__parameters")["unlabelled_value"]
        space = label_space(LABELS, usual_roles(LABELS), unlabelled)
        topics = {COLOR: Image, DEPTH: Image, "/segmentation/mask": Image}
        consumer = Consumer(driver, topics, QoSProfile(depth=10))
        color, depth, labels = consumer.wait_for_set(consumer.approximate_set)
        sizes = {(each.height, each.width) for each in (color, depth, labels)}
        assert sizes == {SIZE}  # else "label dimensions do not match depth dimensions"
        assert labels.encoding in ("mono8", "mono16", "16SC1", "32SC1")  # one channel: several are taken for colors
        ids = pixels_of(labels)
        masked = np.isin(ids, space["invalid_labels"])
        assert masked.any() and not masked.all()
        assert ids[~masked].max() < space["total_semantic_labels"]  # else "Encountered invalid label"
        assert set(np.unique(ids[~masked])) == {entry["label"] for entry in space["label_names"]}


def test_rtabmap() -> None:
    with running_with("rtabmap.yaml") as driver:
        wanted = section("rtabmap.yaml", "/**/rtabmap", "ros__parameters")
        assert (wanted["qos_image"], wanted["qos_camera_info"], wanted["approx_sync"]) == (2, 2, False)
        qos = QoSProfile(depth=wanted["topic_queue_size"], reliability=BEST_EFFORT)
        for picture in ("overlay", "color_mask"):
            topics = {f"/segmentation/{picture}": Image, "/segmentation/camera_info": CameraInfo, DEPTH: Image}
            consumer = Consumer(driver, topics, qos)
            rgb, info, depth = consumer.wait_for_set(consumer.exact_set)
            assert rgb.encoding in ("mono8", "mono16", "rgb8", "bgr8", "rgba8", "bgra8")
            assert depth.encoding in ("16UC1", "32FC1", "mono16")
            assert rgb.width // depth.width == rgb.height // depth.height >= 1
            assert (info.height, info.width) == (rgb.height, rgb.width) and info.p[0] > 0
        palette = {tuple(each.color) for each in LABELS.classes} | {(0, 0, 0)}
        assert {tuple(pixel) for pixel in pixels_of(rgb).reshape(-1, 3)} <= palette
