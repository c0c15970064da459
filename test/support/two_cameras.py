"""A color and a depth camera side by side, what they see of a small scene, and the messages that describe them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from support.bags import MS, STORE, Recorded, image, stamps

from m3l_core.registration.camera_model import CameraModel

COLOR_TOPIC, COLOR_FRAME = "/rig/color/image_raw", "rig_color_optical_frame"
DEPTH_TOPIC, DEPTH_FRAME = "/rig/depth/image_raw", "rig_depth_optical_frame"
WALL, FLOOR, BOARD = 0, 1, 2


def pinhole(size: tuple[int, int], focal_length: float, **more: Any) -> CameraModel:
    """A camera that looks along its axis, with square pixels."""
    height, width = size
    center = ((width - 1) / 2, (height - 1) / 2)
    matrix = np.array([[focal_length, 0, center[0]], [0, focal_length, center[1]], [0, 0, 1]], np.float64)
    return CameraModel(size, matrix, **more)


def turned(vector: Sequence[float], shift: Sequence[float] = (0.0, 0.0, 0.0)) -> NDArray[np.float64]:
    """(4, 4): a turn by a rotation vector [rad], then a shift [m]."""
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(np.array(vector, np.float64))[0]
    pose[:3, 3] = shift
    return pose


COLOR = pinhole(
    (120, 160), 140.0, model="plumb_bob", distortion=np.array([0.12, -0.2, 0.002, -0.001, 0.05]), baseline_px=0.0
)
DEPTH = pinhole((60, 80), 55.0, model="rational_polynomial", distortion=np.array([0.3, 0.02, 0, 0, 0, 0.35, 0.03, 0]))
DEPTH_TO_COLOR = turned((0.02, -0.03, 0.05), (-0.06, 0.005, 0.01))


def look(camera: CameraModel, to_color: NDArray[np.float64]) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """What a camera sees: distance along its axis [mm], and which of wall, floor and board it is; both (H, W)."""
    height, width = camera.size
    rays = camera.rays(np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2))
    directions = np.column_stack((rays, np.ones(len(rays)))) @ to_color[:3, :3].T
    origin = to_color[:3, 3]

    def meet(normal: Sequence[float], distance: float) -> NDArray[np.float64]:
        along = (distance - origin @ np.array(normal)) / (directions @ np.array(normal))
        return np.where(along > 0, along, np.inf)

    wall = meet((0.3, 0.0, 1.0), 2.5)  # slanted
    floor = meet((0.0, 1.0, 0.0), 0.5)
    board = meet((0.0, 0.0, 1.0), 1.0)
    points = origin + directions * board[:, None]
    on_board = (np.abs(points[:, 0] + 0.1) < 0.18) & (np.abs(points[:, 1]) < 0.15)
    surfaces = np.array([wall, floor, np.where(on_board, board, np.inf)])
    distance_mm = np.rint(surfaces.min(axis=0) * 1000).astype(np.uint16)
    return distance_mm.reshape(camera.size), surfaces.argmin(axis=0).astype(np.uint8).reshape(camera.size)


def camera_info(camera: CameraModel, frame_id: str, **changed: Any) -> Any:
    """sensor_msgs/CameraInfo of a camera that is not rectified."""
    types = STORE.types
    stamp = types["builtin_interfaces/msg/Time"](sec=1, nanosec=0)
    height, width = camera.size
    message = types["sensor_msgs/msg/CameraInfo"](
        header=types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id),
        height=height,
        width=width,
        distortion_model=camera.model or "plumb_bob",
        d=np.zeros(5) if camera.distortion is None else camera.distortion,
        k=camera.matrix.ravel(),
        r=camera.rotation.ravel(),
        p=np.column_stack((camera.matrix, [camera.baseline_px, 0.0, 0.0])).ravel(),
        binning_x=0,
        binning_y=0,
        roi=types["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )
    return replace(message, **changed)


def static_transforms(*links: tuple[str, str, NDArray[np.float64]]) -> Any:
    """tf2_msgs/TFMessage of (parent, child, what takes points from child to parent)."""
    types = STORE.types
    stamp = types["builtin_interfaces/msg/Time"](sec=1, nanosec=0)
    transforms = []
    for parent, child, pose in links:
        vector = cv2.Rodrigues(pose[:3, :3])[0].ravel()
        angle = float(np.linalg.norm(vector))
        axis = vector / angle * np.sin(angle / 2) if angle else vector
        transforms.append(
            types["geometry_msgs/msg/TransformStamped"](
                header=types["std_msgs/msg/Header"](stamp=stamp, frame_id=parent),
                child_frame_id=child,
                transform=types["geometry_msgs/msg/Transform"](
                    translation=types["geometry_msgs/msg/Vector3"](*map(float, pose[:3, 3])),
                    rotation=types["geometry_msgs/msg/Quaternion"](*map(float, axis), float(np.cos(angle / 2))),
                ),
            )
        )
    return types["tf2_msgs/msg/TFMessage"](transforms=transforms)


def rig_links() -> Any:
    """Both cameras on a robot's base, depth by way of its housing."""
    housing, base_to_color = turned((0.1, 0.2, -0.3), (0.2, 0.0, 0.5)), turned((-1.2, 1.2, -1.2), (0.1, 0.03, 0.4))
    return static_transforms(
        ("base_link", COLOR_FRAME, base_to_color),
        ("base_link", "depth_housing", base_to_color @ DEPTH_TO_COLOR @ housing),
        ("depth_housing", DEPTH_FRAME, np.linalg.inv(housing)),
    )


def in_frame(message: Any, frame_id: str) -> Any:
    return replace(message, header=replace(message.header, frame_id=frame_id))


def rig_recording(count: int = 3) -> list[Recorded]:
    """What both see at 10 Hz, their camera_info and /tf_static."""
    distance, what = look(DEPTH, DEPTH_TO_COLOR)[0], look(COLOR, np.eye(4))[1]
    rgb = np.repeat(40 + 60 * what[..., None], 3, axis=2).astype(np.uint8)
    first = stamps(1)[0]
    recorded = [
        Recorded("/tf_static", first, rig_links()),
        Recorded("/rig/color/camera_info", first, camera_info(COLOR, COLOR_FRAME)),
        Recorded("/rig/depth/camera_info", first, camera_info(DEPTH, DEPTH_FRAME)),
    ]
    for number, stamp in enumerate(stamps(count)):
        rgb[0, 0] = number  # no two alike
        distance[0, 0] = 1000 + number
        recorded.append(Recorded(COLOR_TOPIC, stamp + 3 * MS, in_frame(image(rgb, "rgb8", stamp), COLOR_FRAME)))
        recorded.append(Recorded(DEPTH_TOPIC, stamp + 5 * MS, in_frame(image(distance, "16UC1", stamp), DEPTH_FRAME)))
    return recorded
