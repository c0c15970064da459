"""The node's sensors are its bundle's: three of them, one alone, in any order, each lost in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, PointCloud2
from support import messages
from support.bundles import write_onnx_bundle
from support.driver import COLOR, DEPTH, Driver
from support.engines import ConstantEngine, loader
from support.messages import pixels_of
from support.needs import require_modules
from support.rig import CALM, Rig

from m3l_core.bundle import ModelBundle
from m3l_core.engines.engine import load_engine
from m3l_core.frames import FrameSet
from m3l_core.modalities import ColorModality, DepthModality, HeightModality, IntensityModality
from m3l_core.registration.labelled_points import POINT
from m3l_core.segmenter import Segmenter
from m3l_core.streaming.frame_decoding import decode_frame

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]
THERMAL = "/thermal/image_raw"
SENSORS: dict[str, tuple[str, Callable[[int], Any]]] = {
    "color": (COLOR, messages.color),
    "depth": (DEPTH, messages.depth),
    "thermal": (THERMAL, messages.thermal),
}
MODALITIES = (ColorModality(), DepthModality(), IntensityModality(normalization="range", low=7000, high=9000))
KINDS = {modality.name: modality.kind for modality in MODALITIES}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_modules("onnxruntime")
    return write_onnx_bundle(tmp_path_factory.mktemp("bundles") / "thermal", MODALITIES)


@pytest.fixture(scope="module")
def shared_rig(bundle: Path) -> Iterator[Rig]:
    with Rig(bundle, {"sync_timeout": 0.2, "sensor_timeout": 0.6}) as rig:
        yield rig


@pytest.fixture
def driver(shared_rig: Rig) -> Driver:
    return shared_rig.restarted().driver


def send(driver: Driver, names: tuple[str, ...]) -> int:
    stamp_ns = driver.next_stamp()
    for name in names:
        topic, make = SENSORS[name]
        message = make(driver.count)
        message.header.frame_id = f"{name}_frame"
        driver.send(topic, message, stamp_ns)
    return stamp_ns


def labels_of(bundle: Path, names: tuple[str, ...], count: int) -> np.ndarray:
    """What the same images become without the node."""
    frames = {name: decode_frame(name, SENSORS[name][1](count), kind=KINDS[name])[0] for name in names}
    loaded = ModelBundle.load(bundle)
    engine = load_engine(loaded, CALM["engine"], "fp32", 1)
    return Segmenter(loaded.description, engine).segment(FrameSet(names[0], frames)).labels


def complete(driver: Driver) -> bool:
    return driver.status("segmentation").count("sets complete") > 0


@pytest.mark.parametrize("lost", SENSORS)
def test_three_sensors_are_labelled_and_each_may_be_lost(driver: Driver, bundle: Path, lost: str) -> None:
    every = tuple(SENSORS)
    driver.repeat("complete set", lambda: send(driver, every), lambda stamp: driver.mask(stamp) and complete(driver))
    mask = driver.received["mask"][-1]
    assert mask.header.frame_id == "color_frame"
    np.testing.assert_array_equal(pixels_of(mask), labels_of(bundle, every, driver.count))

    left = tuple(name for name in every if name != lost)

    def labelled_without(stamp_ns: int) -> Any:
        return driver.status(lost).state == "LOST" and driver.mask(stamp_ns)

    mask = driver.repeat(f"mask without {lost}", lambda: send(driver, left), labelled_without, 0.3)
    assert mask.header.frame_id == f"{left[0]}_frame"  # the first of the bundle's that is left leads
    np.testing.assert_array_equal(pixels_of(mask), labels_of(bundle, left, driver.count))
    assert [driver.status(name).state for name in left] == ["OK", "OK"]
    assert driver.status(lost).message == f"LOST: nothing arrives on {SENSORS[lost][0]}"
    assert driver.status("segmentation").message.startswith(f"labelling without {lost}")


def test_a_sensor_has_its_own_transport_offset_and_health_check(bundle: Path) -> None:
    shift_ns = 250_000_000
    parameters = {"thermal_image_transport": "compressed", "stamp_offset.thermal": shift_ns / 1e9}
    with Rig(bundle, parameters, loader(ConstantEngine()), active=False) as rig:
        driver = rig.driver
        assert driver.change_state("configure") and driver.change_state("activate")
        assert driver.lines("there is no parameter") == []

        def send_set(make: Callable[[int], np.ndarray] = messages.counts) -> int:
            stamp_ns = driver.send_pair()
            picture = cv2.imencode(".png", make(driver.count))[1].tobytes()
            message = messages.compressed(picture, "mono16; png")
            driver.send(f"{THERMAL}/compressed", message, stamp_ns - shift_ns)
            return stamp_ns

        driver.repeat("complete set", send_set, lambda _: complete(driver))
        flat = lambda _: send_set(lambda count: np.full(messages.SIZE, 8000, np.uint16))  # noqa: E731
        reason = lambda _: driver.status("thermal").values.get("last reason") == "image without contrast"  # noqa: E731
        driver.repeat("drop", lambda: flat(0), reason)
        driver.wait_for("parameter services", driver.parameters.services_are_ready)
        names = list(parameters)
        described = driver.finish(driver.parameters.describe_parameters(names), "describe").descriptors
        assert all(each.description.endswith("structural: deactivate first") for each in described)


def test_a_parameter_of_a_sensor_that_the_bundle_has_not_is_told_when_it_is_known(tiny_bundle: Path) -> None:
    overrides = {"stamp_offset.thermal": 0.1, "depth_image_transprt": "raw"}
    with Rig(tiny_bundle, overrides, loader(ConstantEngine()), active=False) as rig:
        rig.driver.wait_for_line("no parameter 'depth_image_transprt'")
        assert rig.driver.lines("'stamp_offset.thermal'") == []
        assert rig.driver.change_state("configure")
        rig.driver.wait_for_line("no parameter 'stamp_offset.thermal', so its value has no effect")


@pytest.mark.parametrize(
    ("modalities", "topic", "make"),
    [
        ((ColorModality(),), COLOR, messages.color),
        ((HeightModality(), ColorModality()), "/height/image_raw", lambda seed: messages.depth(seed)),
        ((ColorModality(name="depth", photometric=False), ColorModality()), DEPTH, messages.color),
    ],
)
def test_one_sensor_alone_and_any_order(tmp_path: Path, modalities: tuple, topic: str, make: Any) -> None:
    folder = write_onnx_bundle(tmp_path / "bundle", modalities)
    with Rig(folder, {"sync_timeout": 0.1, "sensor_timeout": 0.6}, loader(ConstantEngine())) as rig:
        driver = rig.driver

        def send_one() -> int:
            stamp_ns = driver.next_stamp()
            driver.send(topic, make(driver.count), stamp_ns)
            return stamp_ns

        driver.repeat("mask", send_one, driver.mask)
        driver.wait_for("diagnostics", lambda: driver.status(modalities[0].name).state == "OK")


def test_points_of_a_bundle_without_color_lie_where_rectified_depth_has_them(tmp_path: Path) -> None:
    folder = write_onnx_bundle(tmp_path / "bundle", (DepthModality(),))
    height, width = messages.SIZE
    info = CameraInfo(height=height, width=width, k=[50.0, 0, 48, 0, 50, 32, 0, 0, 1], d=[0.1, 0, 0, 0, 0])
    info.distortion_model, info.p = "plumb_bob", [100.0, 0, 40, 0, 0, 80, 30, 0, 0, 0, 1, 0]
    with Rig(folder, {"sync_timeout": 0.1}, loader(ConstantEngine())) as rig:
        driver = rig.driver
        driver.listen(PointCloud2, "points")

        def send_both() -> int:
            stamp_ns = driver.next_stamp()
            driver.send("/color/camera_info", info, stamp_ns)
            return driver.send_depth(stamp_ns=stamp_ns)

        driver.repeat("cloud", send_both, lambda _: driver.received["points"])
        points = np.frombuffer(driver.received["points"][-1].data, POINT).reshape(messages.SIZE)
        seen = np.isfinite(points["z"])
        assert seen.any()
        across, down = np.meshgrid(np.arange(width), np.arange(height))
        np.testing.assert_allclose(points["x"][seen], (points["z"] * (across - 40) / 100)[seen], rtol=1e-5)
        np.testing.assert_allclose(points["y"][seen], (points["z"] * (down - 30) / 80)[seen], rtol=1e-5)
