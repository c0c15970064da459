"""Stanford 2D-3D-S, the "Stanford Indoor" of the paper's experiments (Armeni et al., arXiv 1702.01105).

    assets/semantic_labels.json
    area_1/data/rgb/camera_UUID_office_3_frame_0_domain_rgb.png
    area_1/data/depth/camera_UUID_office_3_frame_0_domain_depth.png
    area_1/data/semantic/camera_UUID_office_3_frame_0_domain_semantic.png

Depth is 16-bit in 1/512 m along the optical axis, 65535 where there is none. The color of a semantic pixel is, read
as a 24-bit number, its place in semantic_labels.json, whose names are class_instance_room_number_area; #0D0D0D has no
label. The three folds are those of the data set: fold 1 tests on area 5, fold 2 on areas 2 and 4, fold 3 on 1, 3, 6.
"""

from __future__ import annotations

import re
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from m3l_core.errors import DatasetError
from m3l_core.json_files import read_json
from m3l_core.labels import IGNORE, LabelSet, SemanticClass
from m3l_core.modalities import ColorModality, DepthModality
from m3l_core.published.layout import Frame, PublishedSet, read_color, read_uint16, to_millimetres, wrong_layout

LABELS = LabelSet(
    classes=(
        SemanticClass(name="ceiling", color=(200, 200, 210)),
        SemanticClass(name="floor", color=(152, 118, 84)),
        SemanticClass(name="wall", color=(120, 160, 190)),
        SemanticClass(name="beam", color=(90, 70, 50)),
        SemanticClass(name="column", color=(255, 153, 51)),
        SemanticClass(name="window", color=(102, 230, 255)),
        SemanticClass(name="door", color=(204, 102, 255)),
        SemanticClass(name="table", color=(255, 102, 102)),
        SemanticClass(name="chair", color=(255, 220, 60)),
        SemanticClass(name="sofa", color=(60, 180, 75)),
        SemanticClass(name="bookcase", color=(170, 60, 60)),
        SemanticClass(name="board", color=(60, 90, 200)),
        SemanticClass(name="clutter", color=(128, 128, 128)),
    )
)
TEST_AREAS = {"fold1": "5", "fold2": "24", "fold3": "136"}
UNLABELLED = 0x0D0D0D
NO_DEPTH = 65535
METRES = 1.0 / 512.0
EXPECTED = "assets/semantic_labels.json and area_*/data/{rgb,depth,semantic}/camera_*_domain_*.png of 2D-3D-S"
_COLOR_NAME = re.compile(r"(?P<frame>camera_[^_]+_+(?P<room>[^_]+_\d+)_frame_\w+_domain_+)rgb\.png")


def read_layout(root: Path) -> PublishedSet:
    """Check that ``root`` holds 2D-3D-S, or some of its areas.

    Raises:
        DatasetError: it does not.
    """
    names = root / "assets" / "semantic_labels.json"
    areas = sorted(folder for folder in root.glob("area_*") if (folder / "data" / "rgb").is_dir())
    if not names.is_file() or not areas:
        raise wrong_layout(root, EXPECTED)
    class_table(names)
    frames = tuple(frame for area in areas for frame in _frames(area, names))
    if not frames:
        raise wrong_layout(areas[0] / "data" / "rgb", EXPECTED)
    return PublishedSet("stanford_indoor", LABELS, (ColorModality(), DepthModality(near_m=0.3, far_m=10.0)), frames)


def _frames(area: Path, names: Path) -> list[Frame]:
    data = area / "data"
    present = {path for kind in ("depth", "semantic") for path in (data / kind).glob("*.png")}
    number = area.name.removeprefix("area_")[:1]
    splits = tuple(f"{fold}_{'test' if number in tested else 'train'}" for fold, tested in TEST_AREAS.items())
    frames = []
    for color in sorted((data / "rgb").glob("*.png")):
        match = _COLOR_NAME.fullmatch(color.name)
        if match is None:
            raise DatasetError(f"{color}: expected a name such as camera_UUID_office_3_frame_0_domain_rgb.png")
        depth = data / "depth" / f"{match['frame']}depth.png"
        semantic = data / "semantic" / f"{match['frame']}semantic.png"
        frames.append(
            Frame(
                f"{area.name}/{match['frame'].rstrip('_')}",
                f"{area.name}/{match['room']}",
                splits,
                {"color": color} | ({"depth": partial(read_depth, depth)} if depth in present else {}),
                partial(read_semantic, semantic, names) if semantic in present else None,
            )
        )
    return frames


def read_depth(path: Path) -> NDArray[np.uint16]:
    """(H, W) uint16 [mm], 0 = invalid.

    Raises:
        DatasetError: the file is no 16-bit image.
    """
    stored = read_uint16(path)
    return to_millimetres(stored * METRES, (stored != NO_DEPTH) & (stored > 0))


def read_semantic(path: Path, names: Path) -> NDArray[np.uint8]:
    """(H, W) uint8 class ids by the names in semantic_labels.json.

    Raises:
        DatasetError: the file is no picture of 8 bits, or a color stands for no name.
    """
    red, green, blue = np.moveaxis(read_color(path).astype(np.uint32), -1, 0)
    index = red << 16 | green << 8 | blue
    table = class_table(names)
    labelled = index != UNLABELLED
    beyond = labelled & (index >= len(table))
    if beyond.any():
        raise DatasetError(
            f"{path}: color #{int(index[beyond][0]):06X} stands for none of the {len(table)} names in {names}; "
            "expected a picture of data/semantic, not of data/semantic_pretty"
        )
    label: NDArray[np.uint8] = np.where(labelled, table[np.where(labelled, index, 0)], IGNORE).astype(np.uint8)
    return label


@cache
def class_table(names: Path) -> NDArray[np.uint8]:
    """Class id of every name in semantic_labels.json, 255 for ``<UNK>``.

    Raises:
        DatasetError: the file is no list of such names.
    """
    try:
        entries = read_json(names)
        classes = [entry.split("_")[0] for entry in entries]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DatasetError(f"{names} cannot be read as a list of names: {error}") from error
    ids = {name: number for number, name in enumerate(LABELS.names)} | {"<UNK>": IGNORE}
    unknown = sorted(set(classes) - set(ids))
    if unknown or not classes:
        raise DatasetError(f"{names}: expected names of the 13 classes, found {unknown[:5] or 'none'}")
    return np.array([ids[name] for name in classes], np.uint8)
