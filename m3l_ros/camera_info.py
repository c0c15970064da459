"""The camera_info that goes beside a mask, made for the mask's size."""

from __future__ import annotations

import copy

from sensor_msgs.msg import CameraInfo

from m3l_core.registration.camera_model import image_matrices, image_size, resized
from m3l_core.streaming.registration import is_same_aspect


def fitted(info: CameraInfo, images: tuple[int, int], size: tuple[int, int]) -> CameraInfo | None:
    """A copy for a mask of (H, W) = ``size`` over images of (H, W) = ``images``; None if it is not about such images.

    Of another size K and P are scaled, and then they are of the mask itself: without binning and region of interest.
    """
    came = image_size(info)
    if not all(came) or not is_same_aspect(came, images):
        return None
    scaled = copy.copy(info)
    scaled.header = copy.deepcopy(info.header)
    if came != size:
        matrix, projection = (resized(each, came, size).ravel() for each in image_matrices(info))
        if info.k[0]:
            scaled.k = matrix
        if info.p[0]:
            scaled.p = projection
        scaled.height, scaled.width = size
        scaled.roi = type(info.roi)()
        scaled.binning_x = scaled.binning_y = 0
    return scaled
