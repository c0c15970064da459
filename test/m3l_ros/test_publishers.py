"""What the node publishes beside the mask, for those who subscribe to it: the real node over real DDS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from support import messages
from support.driver import Driver
from support.messages import SIZE, pixels_of
from support.rig import Rig

from m3l_core.registration.labelled_points import POINT
from m3l_core.streaming.image_messages import stamp_to_ns
from m3l_ros import publishers
from m3l_ros.labelled_cloud import LabelledCloud

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]
KINDS = {
    "mask": Image,
    "confidence": Image,
    "camera_info": CameraInfo,
    "mask_of_interest": Image,
    "color_mask": Image,
    "overlay": Image,
    "points": PointCloud2,
    "mask/compressed": CompressedImage,
    "confidence/compressed": CompressedImage,
    "mask_of_interest/compressed": CompressedImage,
}
HEARD = ("mask", "confidence", "camera_info")
"""By every driver."""


@pytest.fixture(scope="module")
def shared_rig(tiny_bundle: Path) -> Iterator[Rig]:
    values = {"sync_timeout": 0.3, "health.size_change_frames": 0, "classes_of_interest": ["wall", "chair"]}
    with Rig(tiny_bundle, values) as rig:
        yield rig


@pytest.fixture
def driver(shared_rig: Rig) -> Driver:
    driver = shared_rig.restarted().driver
    driver.make_depth = holed
    return driver


def holed(seed: int, size: tuple[int, int] = SIZE) -> Image:
    depth = messages.millimetres(seed, size)
    depth[: size[0] // 3] = 0
    return messages.image(depth, "16UC1")


def info(size: tuple[int, int] = SIZE) -> CameraInfo:
    height, width = size
    k = [80.0, 0.0, width * 0.45, 0.0, 82.0, height * 0.55, 0.0, 0.0, 1.0]
    return CameraInfo(height=height, width=width, k=k)


def set_parameters(driver: Driver, **values: Any) -> str:
    """The reason of a refusal, if there is one."""
    driver.wait_for("parameter services", driver.parameters.services_are_ready)
    parameters = [Parameter(name, value=value) for name, value in values.items()]
    results = driver.finish(driver.parameters.set_parameters(parameters), "set_parameters").results
    return "; ".join(result.reason for result in results if not result.successful)


@contextmanager
def listening(driver: Driver, *names: str) -> Iterator[None]:
    subscriptions = [driver.listen(KINDS[name], name) for name in names if name not in HEARD]
    try:
        yield
    finally:
        for subscription in subscriptions:
            driver.forget(subscription)


def outputs(driver: Driver, *names: str, camera_info: CameraInfo | None = None) -> dict[str, Any]:
    """One of each, all about the same images."""

    def send() -> int:
        if camera_info is not None:
            driver.send("/color/camera_info", camera_info, driver.stamp_ns - 5)
        return driver.send_pair()

    def all_of(stamp_ns: int) -> dict[str, Any] | None:
        found = {
            name: message
            for name in names
            for message in driver.received[name]
            if stamp_to_ns(message.header.stamp) == stamp_ns
        }
        return found if len(found) == len(names) else None

    with listening(driver, *names):
        return driver.repeat(f"set of {names}", send, all_of)


def points_of(cloud: PointCloud2) -> np.ndarray:
    return np.frombuffer(cloud.data, POINT).reshape(cloud.height, cloud.width)


@pytest.mark.parametrize("metric", [False, True], ids=["millimetres", "half as large in metres"])
def test_each_pixel_of_the_mask_is_a_point_where_depth_is_valid(driver: Driver, metric: bool) -> None:
    if metric:
        depth = messages.metres(3, (SIZE[0] // 2, SIZE[1] // 2))
        depth[:8], depth[8:12], depth[:, 40:] = np.nan, np.inf, -1.0
        driver.make_depth = lambda seed: messages.image(depth, "32FC1")
    found = outputs(driver, "mask", "confidence", "camera_info", "points", camera_info=info())
    mask, cloud, beside = found["mask"], found["points"], found["camera_info"]
    assert cloud.header == mask.header == beside.header
    assert cloud.header.frame_id == "color_optical_frame"
    assert (cloud.height, cloud.width) == (mask.height, mask.width)
    assert (cloud.point_step, cloud.row_step, len(cloud.data)) == (
        16,
        16 * cloud.width,
        16 * cloud.width * cloud.height,
    )
    assert not cloud.is_bigendian and not cloud.is_dense
    single, byte = PointField.FLOAT32, PointField.UINT8
    assert [(field.name, field.offset, field.datatype, field.count) for field in cloud.fields] == [
        *(("x", 0, single, 1), ("y", 4, single, 1), ("z", 8, single, 1)),
        *(("label", 12, byte, 1), ("confidence", 13, byte, 1)),
    ]
    points = points_of(cloud)
    np.testing.assert_array_equal(points["label"], pixels_of(mask))
    np.testing.assert_array_equal(points["confidence"], pixels_of(found["confidence"]))
    rows, columns = np.nonzero(np.isfinite(points["z"]))
    assert 0.2 < len(rows) / points.size < 0.8
    x, y, z = (points[name][rows, columns] for name in "xyz")
    fx, _, cx, _, fy, cy = beside.k[:6]
    np.testing.assert_allclose(
        np.column_stack((fx * x / z + cx, fy * y / z + cy)), np.column_stack((columns, rows)), atol=1e-3
    )
    invalid = np.isnan(points["z"])
    assert np.isnan(points["x"][invalid]).all() and np.isnan(points["y"][invalid]).all()


def test_without_depth_or_camera_info_there_are_no_points_and_diagnostics_say_so(driver: Driver) -> None:
    def says(text: str, send: Any = driver.send_pair, no_longer: str = "nothing else") -> None:
        def said(_: int) -> bool:
            whole = driver.status("segmentation")
            return text in whole.message and no_longer not in whole.message and whole.level == 1

        driver.repeat(text, send, said, 0.5)

    driver.label_pair()
    assert "points" not in driver.status("segmentation").message
    with listening(driver, "points"):
        says("segmentation/points: on /color/camera_info nothing has come that is about these images")
        driver.send("/color/camera_info", CameraInfo(height=SIZE[0], width=SIZE[1]), driver.stamp_ns)
        says("segmentation/points: of /color/camera_info: the camera is not calibrated")
        driver.send("/color/camera_info", info(), driver.stamp_ns)
        driver.make_depth = lambda seed: messages.depth(seed, (SIZE[0], SIZE[0]))
        says("segmentation/points: there is no depth: depth of 64x64 does not lie over color of 96x64")
        says("segmentation/points: there is no depth: ", driver.send_color, no_longer="does not lie")
        assert driver.received["points"] == []
        driver.make_depth = messages.depth
        driver.repeat("points", driver.send_pair, lambda _: driver.received["points"], 0.5)
        assert driver.received["points"][-1].is_dense
        driver.repeat(
            "end of it", driver.send_pair, lambda _: "points" not in driver.status("segmentation").message, 0.5
        )


@pytest.mark.parametrize(("output_size", "size"), [("network", SIZE), ("50x36", (36, 50)), ("reference", (96, 144))])
def test_all_outputs_are_of_one_size_whatever_the_camera_gives(
    driver: Driver, output_size: str, size: tuple[int, int]
) -> None:
    assert set_parameters(driver, output_size=output_size) == ""
    driver.make_color = lambda seed: messages.color(seed, (96, 144))
    driver.make_depth = lambda seed: holed(seed, (48, 72))
    names = [name for name in KINDS if not name.endswith("compressed")]
    found = outputs(driver, *names, camera_info=info((96, 144)))
    assert {name: (message.height, message.width) for name, message in found.items()} == dict.fromkeys(names, size)
    assert all(message.header == found["mask"].header for message in found.values())
    down, across = size[0] / 96, size[1] / 144
    scaled, came = found["camera_info"].k, info((96, 144)).k
    assert scaled[0] == pytest.approx(came[0] * across) and scaled[4] == pytest.approx(came[4] * down)
    assert scaled[2] + 0.5 == pytest.approx((came[2] + 0.5) * across)
    assert scaled[5] + 0.5 == pytest.approx((came[5] + 0.5) * down)
    np.testing.assert_array_equal(points_of(found["points"])["label"], pixels_of(found["mask"]))
    assert np.isfinite(points_of(found["points"])["z"]).any()

    black = messages.image(np.zeros((96, 144, 3), np.uint8), "rgb8")
    alone = driver.repeat("mask of depth", lambda: driver.send_pair(black), driver.mask)
    assert alone.header.frame_id == "depth_optical_frame"
    assert (alone.height, alone.width) == ((48, 72) if output_size == "reference" else size)
    assert set_parameters(driver, output_size="reference") == ""


def test_classes_of_interest_are_255_and_names_are_checked(driver: Driver) -> None:
    found = outputs(driver, "mask", "mask_of_interest")
    ids, interest = pixels_of(found["mask"]), pixels_of(found["mask_of_interest"])
    assert found["mask_of_interest"].header == found["mask"].header
    assert len(np.unique(ids)) > 1
    np.testing.assert_array_equal(interest, np.where((ids == 1) | (ids == 2), 255, 0))

    reason = "classes_of_interest: the bundle has no class 'chairs', the nearest is 'chair'; it has floor, wall, chair"
    assert set_parameters(driver, classes_of_interest=["chairs"]).startswith(reason)
    assert set_parameters(driver, classes_of_interest=[""]) == ""
    nothing = outputs(driver, "mask_of_interest")["mask_of_interest"]
    assert not pixels_of(nothing).any()
    says = "segmentation/mask_of_interest is 0 everywhere, as classes_of_interest names no class"
    with listening(driver, "mask_of_interest"):
        driver.repeat("word of it", driver.send_pair, lambda _: says in driver.status("segmentation").message)
    assert set_parameters(driver, classes_of_interest=["wall", "chair"]) == ""


def test_an_unknown_class_of_interest_keeps_the_node_from_being_configured(shared_rig: Rig) -> None:
    driver = shared_rig.driver
    assert driver.change_state("deactivate") and driver.change_state("cleanup")
    assert set_parameters(driver, classes_of_interest=["walls"]) == "", "there is no bundle to check it against"
    assert not driver.change_state("configure")
    driver.wait_for_line(
        "cannot be configured: classes_of_interest: the bundle has no class 'walls', the nearest is 'wall'"
    )
    assert set_parameters(driver, classes_of_interest=["wall", "chair"]) == ""
    assert driver.change_state("configure") and driver.change_state("activate")


def test_where_0_is_no_label_ids_are_one_more_and_pictures_as_they_were(driver: Driver) -> None:
    color, depth = messages.color(5), holed(5)
    driver.make_color, driver.make_depth = lambda seed: color, lambda seed: depth
    names = [name for name in KINDS if name != "camera_info"]
    middle = float(np.median(pixels_of(outputs(driver, "confidence")["confidence"]))) / 255
    assert set_parameters(driver, min_confidence=middle) == ""
    before = outputs(driver, *names, camera_info=info())
    assert driver.change_state("deactivate")
    assert set_parameters(driver, unlabelled_value=0) == ""
    assert driver.change_state("activate")
    after = outputs(driver, *names, camera_info=info())
    assert driver.change_state("deactivate")
    assert set_parameters(driver, unlabelled_value=255, min_confidence=0.0) == ""
    assert driver.change_state("activate")

    plain, shifted = pixels_of(before["mask"]), pixels_of(after["mask"])
    assert {255, 1} < set(np.unique(plain).tolist()), "min_confidence comes before all of it"
    np.testing.assert_array_equal(shifted, np.where(plain == 255, 0, plain + 1))
    np.testing.assert_array_equal(points_of(after["points"])["label"], shifted)
    np.testing.assert_array_equal(decoded(after["mask/compressed"]), shifted)
    for name in ("confidence", "mask_of_interest", "color_mask", "overlay"):
        np.testing.assert_array_equal(pixels_of(after[name]), pixels_of(before[name]), err_msg=name)


def decoded(message: CompressedImage) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)


def test_compressed_masks_lose_nothing(driver: Driver) -> None:
    names = ("mask", "confidence", "mask_of_interest")
    found = outputs(driver, *names, *(f"{name}/compressed" for name in names))
    for name in names:
        raw, small = found[name], found[f"{name}/compressed"]
        np.testing.assert_array_equal(decoded(small), pixels_of(raw))
        assert small.header == raw.header
        # compressed_image_transport's subscriber takes the encoding from before the semicolon.
        assert small.format == "mono8; png compressed "
        assert bytes(small.data[:8]) == b"\x89PNG\r\n\x1a\n"


def test_nothing_is_made_for_nobody(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    for owner, name in ((publishers, "_png"), (publishers, "_image"), (LabelledCloud, "message")):
        make = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given, make=make, name=name: made.append(name) or make(*given))
    driver.wait_for("nobody to listen", lambda: not any(map(driver.node.count_subscribers, others())))
    driver.send("/color/camera_info", info(), driver.stamp_ns)
    driver.label_pair()
    driver.label_pair()
    assert set(made) == {"_image"}
    assert len(made) == 2 * len(driver.received["mask"]), "mask and confidence of each set"


def others() -> list[str]:
    return [f"/segmentation/{name}" for name in KINDS if name not in HEARD]
