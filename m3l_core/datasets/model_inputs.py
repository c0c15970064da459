"""Real frames as network input, to try an engine on: from a bag or from an index file."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from m3l_core.bags.frame_sets import BagFrames
from m3l_core.bags.reader import open_bag
from m3l_core.bags.topics import choose_topics
from m3l_core.bundle import BundleDescription
from m3l_core.datasets.folder import evenly_spread, read_index, read_sample
from m3l_core.errors import DatasetError
from m3l_core.frames import Frame, FrameSet, ModelInput
from m3l_core.preprocessing import prepare
from m3l_core.registration.cameras import field_of_view_deg

# Of a bag: frames that follow each other are nearly the same, and all that are chosen from are in memory at once.
_STRIDE, _CHOICE = 5, 4


def read_model_inputs(source: Path, description: BundleDescription, limit: int = 8) -> list[ModelInput]:
    """At most ``limit`` frame sets with every modality of the bundle.

    Args:
        source: a bag, or an index file.

    Raises:
        DatasetError: it is neither, is damaged, or holds no frame set with every modality.
    """
    inputs = _of_index(source, description, limit) if source.suffix == ".json" else _of_bag(source, description, limit)
    if not inputs:
        raise DatasetError(f"{source} has no frame with {', '.join(description.modality_names)} together")
    return inputs


def _of_bag(path: Path, description: BundleDescription, limit: int) -> list[ModelInput]:
    with open_bag(path) as bag:
        topics = choose_topics(bag.topics, dict.fromkeys(description.modality_names))
        frames = BagFrames(bag, topics, kinds=description.image_kinds)
        complete = (each for each in frames if set(description.modality_names) <= set(each.frames))
        spread = evenly_spread(list(islice(complete, 0, limit * _STRIDE * _CHOICE, _STRIDE)), limit)
        fov_deg = field_of_view_deg(bag, topics)
    return [
        prepare(each, description.modalities, description.input_size, horizontal_fov_deg=fov_deg) for each in spread
    ]


def _of_index(path: Path, description: BundleDescription, limit: int) -> list[ModelInput]:
    samples = [
        sample
        for sample in read_index(path, description.modality_names)
        if set(description.modality_names) <= set(sample.images)
    ]
    inputs = []
    for sample in evenly_spread(samples, limit):
        images, _ = read_sample(sample, description.modalities)
        frames = {name: Frame(name, 0, image) for name, image in images.items()}
        frame_set = FrameSet(description.modality_names[0], frames)
        fov_deg = sample.horizontal_fov_deg(images)
        inputs.append(prepare(frame_set, description.modalities, description.input_size, horizontal_fov_deg=fov_deg))
    return inputs
