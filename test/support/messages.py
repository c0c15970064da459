"""Image messages as drivers send them: small, textured, no two alike."""

from __future__ import annotations

import array
import struct

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

SIZE = (64, 96)


def rgb(seed: int = 0, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(20, 230, (*size, 3), np.uint8)


def millimetres(seed: int = 0, size: tuple[int, int] = SIZE) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(400, 6000, size, np.uint16)


def metres(seed: int = 0, size: tuple[int, int] = SIZE) -> NDArray[np.float32]:
    return millimetres(seed, size).astype(np.float32) / 1000


def image(pixels: NDArray, encoding: str) -> Image:
    """Unpadded and little endian; ``encoding`` is not checked."""
    height, width = pixels.shape[:2]
    step = pixels.nbytes // height if height else 0
    message = Image(height=height, width=width, encoding=encoding, step=step)
    message.data = array.array("B", pixels.tobytes())
    return message


def color(seed: int = 0, size: tuple[int, int] = SIZE) -> Image:
    return image(rgb(seed, size), "rgb8")


def depth(seed: int = 0, size: tuple[int, int] = SIZE) -> Image:
    return image(millimetres(seed, size), "16UC1")


def counts(seed: int = 0, size: tuple[int, int] = SIZE) -> NDArray[np.uint16]:
    """What a thermal camera of 14 bits counts."""
    return np.random.default_rng(seed).integers(7000, 9000, size, np.uint16)


def thermal(seed: int = 0, size: tuple[int, int] = SIZE) -> Image:
    return image(counts(seed, size), "mono16")


def compressed(data: bytes, description: str) -> CompressedImage:
    message = CompressedImage(format=description)
    message.data = array.array("B", data)
    return message


def jpeg(seed: int = 0) -> CompressedImage:
    encoded = cv2.imencode(".jpg", cv2.GaussianBlur(rgb(seed), (5, 5), 0))[1]
    return compressed(encoded.tobytes(), "rgb8; jpeg compressed bgr8")


def png(seed: int = 0) -> CompressedImage:
    return compressed(cv2.imencode(".png", rgb(seed))[1].tobytes(), "bgr8; png compressed bgr8")


def compressed_depth(seed: int = 0) -> CompressedImage:
    encoded = cv2.imencode(".png", millimetres(seed))[1]
    return compressed(struct.pack("<iff", 0, 0.0, 0.0) + encoded.tobytes(), "16UC1; compressedDepth png")


def compressed_metric_depth(seed: int = 0) -> CompressedImage:
    """32FC1 as compressed_depth_image_transport quantizes it by default: 100 steps, 10 m."""
    a = 100.0 * 101.0
    b = 1.0 - a / 10.0
    encoded = cv2.imencode(".png", np.round(a / metres(seed) + b).astype(np.uint16))[1]
    return compressed(struct.pack("<iff", 0, a, b) + encoded.tobytes(), "32FC1; compressedDepth png")


def pixels_of(message: Image) -> NDArray[np.uint8]:
    """(H, W) of a mono8, (H, W, 3) of an rgb8 image without padding."""
    array_ = np.frombuffer(message.data, np.uint8)
    return (
        array_.reshape(message.height, message.width, -1).squeeze(2)
        if message.encoding == "mono8"
        else (array_.reshape(message.height, message.width, 3))
    )
