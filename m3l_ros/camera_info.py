"""The camera_info that goes beside a mask, made for the mask's size."""

from __future__ import annotations

import copy

from sensor_msgs.msg import CameraInfo

from m3l_core.streaming.registration import is_same_aspect


def image_size(info: CameraInfo) -> tuple[int, int]:
    """(H, W) of the images that a camera_info is about: width and height are of the whole sensor."""
    roi = info.roi
    height, width = (roi.height, roi.width) if roi.height and roi.width else (info.height, info.width)
    return height // max(info.binning_y, 1), width // max(info.binning_x, 1)


def fitted(info: CameraInfo, size: tuple[int, int]) -> CameraInfo | None:
    """A copy for images of (H, W) = ``size``, scaled as image_proc's resize node does it; None if it does not fit."""
    height, width = image_size(info)
    scaled = copy.copy(info)
    scaled.header = copy.deepcopy(info.header)
    if (height, width) == size:
        return scaled
    if not height or not width or not is_same_aspect((height, width), size):
        return None
    down, across = size[0] / height, size[1] / width
    matrix, projection = info.k.copy(), info.p.copy()
    matrix[:3] = [value * across for value in matrix[:3]]
    matrix[3:6] = [value * down for value in matrix[3:6]]
    projection[:4] = [value * across for value in projection[:4]]
    projection[4:8] = [value * down for value in projection[4:8]]
    scaled.height, scaled.width = size
    scaled.k, scaled.p = matrix, projection
    scaled.roi = type(info.roi)()
    scaled.binning_x = scaled.binning_y = 0
    return scaled
