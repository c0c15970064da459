"""Pictures on disk and miniature published sets, in their real layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]

STANFORD_NAMES = (
    "<UNK>_0_<UNK>_0_0",
    *(f"{name}_1_office_3_1" for name in ("beam", "board", "bookcase", "ceiling", "chair", "clutter", "column")),
    *(f"{name}_1_office_3_1" for name in ("door", "floor", "sofa", "table", "wall", "window")),
    "chair_2_hallway_1_5",
)


def write(path: Path, pixels: Pixels) -> Path:
    """Write (H, W), (H, W, 3) RGB or (H, W, 4) RGBA in the format that the suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def read(path: Path) -> Pixels:
    """Pixels as stored, color as RGB."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None, path
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if pixels.ndim == 3 else pixels


def random_color(seed: int, size: tuple[int, int] = (6, 8)) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def write_stanford(
    root: Path,
    areas: tuple[str, ...] = ("1", "4", "5a", "5b"),
    rooms: tuple[str, ...] = ("office_3", "hallway_1"),
    size: tuple[int, int] = (6, 8),
) -> Path:
    """2D-3D-S: a chair (name 5) in the upper half, hallway chair (14) below, a column without label."""
    (root / "assets").mkdir(parents=True)
    (root / "assets" / "semantic_labels.json").write_text(json.dumps(STANFORD_NAMES))
    for number, (area, room) in enumerate((area, room) for area in areas for room in rooms):
        data = root / f"area_{area}" / "data"
        frame = f"camera_{number:032x}_{room}_frame_{number}_domain"
        write(data / "rgb" / f"{frame}_rgb.png", random_color(number, size))
        depth = np.full(size, 512 * 2 + number, np.uint16)  # 2 m and a little
        depth[0, 0] = 65535
        write(data / "depth" / f"{frame}_depth.png", depth)
        semantic = np.zeros((*size, 3), np.uint8)
        semantic[: size[0] // 2, :, 2], semantic[size[0] // 2 :, :, 2] = 5, 14
        semantic[:, -1] = 0x0D
        write(data / "semantic" / f"{frame}_semantic.png", semantic)
    return root
