"""An engine that is slow or fails: the newest frame set wins, the node goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo
from support import messages
from support.bundles import write_onnx_bundle
from support.driver import Driver
from support.engines import FailingEngine, GatedEngine, SeeingEngine, loader
from support.rig import Rig

from m3l_core.frames import Frame, FrameSet
from m3l_core.modalities import ColorModality, DepthModality
from m3l_core.preprocessing import prepare

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]


def sets(driver: Driver) -> int:
    status = driver.status("segmentation")
    return status.count("sets complete") + status.count("sets partial")


def send_a_set(driver: Driver) -> int:
    """Send a pair and wait until the node has made a set of it; the engine may be busy meanwhile."""
    before = sets(driver)
    sent: list[int] = []

    def send() -> int:
        sent.append(driver.send_pair())
        return sent[-1]

    driver.repeat("frame set", send, lambda _: sets(driver) > before)
    return sent[-1]


def test_a_slow_engine_gets_the_newest_set_and_the_replaced_ones_are_counted(tiny_bundle: Path) -> None:
    engine = GatedEngine()
    with Rig(tiny_bundle, engine_loader=loader(engine)) as rig:
        driver = rig.driver
        try:
            for rounds in range(1, 4):
                first = send_a_set(driver)
                driver.wait_for("busy engine", lambda rounds=rounds: engine.begun == 2 * rounds - 1)
                for _ in range(4):
                    newest = send_a_set(driver)
                engine.gate.release(2)
                driver.wait_for_mask(newest)
                assert driver.mask_stamps()[-2:] == [first, newest]  # so the delay is the same in every round
                status = driver.status("segmentation")
                assert sets(driver) == 5 * rounds
                driver.wait_for(
                    "count of replaced sets",
                    lambda rounds=rounds: (
                        driver.status("segmentation").count("sets replaced by newer ones") == 3 * rounds
                        and driver.status("segmentation").count("sets published") == 2 * rounds
                    ),
                )
                assert status.count("errors") == 0
        finally:
            engine.gate.release(100)


def test_deactivating_waits_for_the_set_that_is_being_labelled(tiny_bundle: Path) -> None:
    engine = GatedEngine()
    with Rig(tiny_bundle, engine_loader=loader(engine)) as rig:
        stamp_ns = send_a_set(rig.driver)
        rig.driver.wait_for("busy engine", lambda: engine.begun == 1)
        engine.gate.release()
        assert rig.driver.change_state("deactivate")
        rig.driver.wait_for_mask(stamp_ns)


def test_an_engine_that_fails_on_a_set_is_counted_told_and_asked_again(tiny_bundle: Path) -> None:
    engine = FailingEngine()
    with Rig(tiny_bundle, engine_loader=loader(engine)) as rig:
        driver = rig.driver
        driver.label_pair()
        engine.failing = True
        failed = send_a_set(driver)
        driver.wait_for("count of errors", lambda: driver.status("segmentation").count("errors") == 1)
        driver.wait_for("word of the error", lambda: "out of luck" in driver.status("segmentation").message)
        assert driver.status("segmentation").level == 2
        driver.wait_for_line("out of luck")
        engine.failing = False
        driver.label_pair()
        assert failed not in driver.mask_stamps()
        driver.wait_for("end of the problem", lambda: driver.status("segmentation").level == 0)
        assert driver.status("segmentation").count("errors") == 1


def test_depth_is_seen_as_wide_as_the_camera_info_says(tmp_path: Path) -> None:
    modalities = (ColorModality(), DepthModality(normalization="geometry"))
    bundle, engine = write_onnx_bundle(tmp_path / "tiny", modalities), SeeingEngine()
    color, depth = messages.rgb(7), messages.millimetres(7)
    frames = FrameSet("color", {"color": Frame("color", 0, color), "depth": Frame("depth", 0, depth)})
    seen_with = {fov: prepare(frames, modalities, (64, 96), None, fov).images for fov in (None, 90.0)}
    with Rig(bundle, engine_loader=loader(engine)) as rig:
        driver = rig.driver

        def send(info: CameraInfo | None) -> int:
            if info is not None:
                driver.send("/color/camera_info", info, driver.stamp_ns - 5)
            return driver.send_pair(messages.image(color, "rgb8"), messages.image(depth, "16UC1"))

        def is_seen(what: str, info: CameraInfo | None, fov_deg: float | None) -> None:
            expected = seen_with[fov_deg]
            driver.repeat(what, lambda: send(info), lambda _: np.array_equal(engine.seen, expected))

        wide = CameraInfo(height=128, width=192, k=[96.0, 0.0, 95.5, 0.0, 96.0, 63.5, 0.0, 0.0, 1.0])
        cropped = CameraInfo(height=64, width=192, k=[96.0, 0.0, 95.5, 0.0, 96.0, 31.5, 0.0, 0.0, 1.0])
        is_seen("the bundle's own field of view", None, None)
        is_seen("that of a camera_info of twice the size", wide, 90.0)
        is_seen("the bundle's own, as that is of a part of the image", cropped, None)
        is_seen("that of the camera_info", wide, 90.0)
        is_seen("the bundle's own, as that is not calibrated", CameraInfo(height=64, width=96), None)


def test_rectified_color_is_seen_as_wide_as_p_says(tmp_path: Path) -> None:
    modalities = (ColorModality(), DepthModality(normalization="geometry"))
    bundle, engine = write_onnx_bundle(tmp_path / "tiny", modalities), SeeingEngine()
    color, depth = messages.rgb(7), messages.millimetres(7)
    frames = FrameSet("color", {"color": Frame("color", 0, color), "depth": Frame("depth", 0, depth)})
    expected = prepare(frames, modalities, (64, 96), None, 90.0).images
    info = CameraInfo(height=64, width=96, k=[60.0, 0.0, 47.5, 0.0, 60.0, 31.5, 0.0, 0.0, 1.0])
    info.p = [48.0, 0.0, 47.5, 0.0, 0.0, 48.0, 31.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    remapped = ["--ros-args", "-r", "color/image_raw:=/color/image_rect"]
    with Rig(bundle, engine_loader=loader(engine), cli_args=remapped) as rig:
        driver = rig.driver

        def send() -> int:
            stamp_ns = driver.next_stamp()
            driver.send("/color/camera_info", info, stamp_ns)
            driver.send("/color/image_rect", messages.image(color, "rgb8"), stamp_ns)
            return driver.send_depth(messages.image(depth, "16UC1"), stamp_ns)

        driver.repeat("the field of view of P", send, lambda _: np.array_equal(engine.seen, expected))
