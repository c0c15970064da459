"""Training samples as a function of (seed, position): the order and every view survive a restart.

Legend: B samples, M modalities, H x W pixels, h x w = H/4 x W/4 tokens.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from m3l_core.datasets.folder import Sample, read_sample
from m3l_core.errors import M3LError, RecipeError
from m3l_core.labels import IGNORE
from m3l_core.modalities import DepthModality, Modality
from m3l_core.preprocessing import focal_of, metric_depth, needs_whole_image, normalize, resize
from m3l_core.trainer.augmentation import View
from m3l_core.trainer.depth_sensor import comes_from_a_sensor, sense
from m3l_core.trainer.distributed import Ranks
from m3l_core.trainer.disturbances import add_noise, degrade, disturb, is_photograph, jitter, random_box
from m3l_core.trainer.masking import draw_present, draw_tokens
from m3l_core.trainer.recipe import Recipe
from m3l_core.trainer.sample_order import SampleOrder
from m3l_core.trainer.settings import Phase

Images = dict[str, NDArray[Any]]
Position = tuple[int, int]
"""(0 labelled or 1 unlabelled, how many of that list were drawn before)."""


class Batch(NamedTuple):
    """Labelled samples, then unlabelled ones."""

    weak: Tensor
    """(B, M, 3, H, W) float32: what the teacher sees."""
    strong: Tensor
    """(B, M, 3, H, W) float32: what the student sees."""
    recorded: Tensor
    """(B, M) bool: which modalities the sample has."""
    present: Tensor
    """(B, M) bool: which of them the student keeps."""
    kept: Tensor
    """(B, M, h, w) bool: which tokens of those it keeps."""
    label: Tensor
    """(B, H, W) uint8; 255 all over an unlabelled sample."""
    inside: Tensor
    """(B, H, W) bool: where the view shows the image."""
    mixed: Tensor
    """(B, H, W) bool: where the student sees the sample's neighbour instead."""
    source: Tensor
    """(B, 2) int64: list and place in it."""


class TrainingSamples(Dataset[Batch]):
    """Two endless shuffled streams of augmented samples, labelled and unlabelled, addressed by position.

    Args:
        lists: labelled and unlabelled samples.
        recipe: the whole of it: seed, modalities, augmentation, method.
        phase: size and scale of the views.
        cache_bytes: decoded images are kept in memory up to so much.
    """

    def __init__(
        self, lists: tuple[Sequence[Sample], Sequence[Sample]], recipe: Recipe, phase: Phase, cache_bytes: int = 0
    ) -> None:
        self.lists = lists
        self.recipe = recipe
        self.phase = phase
        self.cache_left = cache_bytes
        self.cache: dict[Position, tuple[Images, NDArray[np.uint8] | None]] = {}
        self.orders = [
            SampleOrder([sample.data_set for sample in samples], recipe.shares, recipe.seed, stream)
            for stream, samples in enumerate(lists)
        ]

    def __getitem__(self, position: Position) -> Batch:
        recipe, method, phase = self.recipe, self.recipe.method, self.phase
        stream, number = position
        source = (stream, self.orders[stream].place(number))
        # A generator for each purpose, so that one option of a method does not change what another draws.
        geometry, exposure, dropout, disturbance, mixing, sensing, failing = (
            np.random.default_rng([recipe.seed, purpose, stream, number]) for purpose in (1, 2, 3, 4, 5, 7, 8)
        )
        images, label = self._read(source)
        height, width = next(iter(images.values())).shape[:2]
        size = height, width
        zoom = recipe.input_height / height
        scale = phase.scale[0] * zoom, phase.scale[1] * zoom
        view = View.draw(size, phase.crop, scale, recipe.augmentation.flip, geometry)
        # Labelled frames are few and certain: they are seen as they are.
        is_labelled = stream == 0
        sensed = self._sensed(images, view, sensing)
        fov_deg = self.lists[stream][source[1]].horizontal_fov_deg(images)

        def normalized(modality: Modality, image: NDArray[Any]) -> NDArray[np.float32]:
            channels = normalize(modality, image, focal=focal_of(modality, size, fov_deg))
            return view.of_channels(channels) if needs_whole_image(modality) else channels

        weak, strong = self._inputs(sensed, normalized, exposure, failing, None if is_labelled else disturbance)
        recorded = np.array([modality.name in images for modality in recipe.modalities])
        dropped = method.modality_dropout
        if dropped is not None and is_labelled and not dropped.on_labelled:
            dropped = None
        present, partial = draw_present(recorded, recipe.modality_names, dropped, dropout)
        kept = draw_tokens(partial, phase.crop, dropped, dropout)
        mixed = np.zeros(phase.crop, np.bool_)
        if not is_labelled and mixing.random() < method.cutmix:
            top, left, height, width = random_box(phase.crop, (0.1, 0.4), mixing)
            mixed[top : top + height, left : left + width] = True
        seen_label = np.full(phase.crop, IGNORE, np.uint8) if label is None else view.of_label(label)
        arrays = (weak, strong, recorded, present, kept, seen_label, view.inside(), mixed, np.array(source))
        return Batch._make(map(torch.from_numpy, arrays))

    def __getitems__(self, positions: Sequence[Position]) -> list[Batch] | M3LError:
        """The samples of a batch; an error is handed on as it is, which a worker would raise with its own traceback."""
        try:
            return [self[position] for position in positions]
        except M3LError as error:
            return error

    def _sensed(self, images: Images, view: View, random: np.random.Generator) -> Images:
        """The view of each image, or all of it where that is needed; depth that no sensor saw, as one would give it."""
        strength = self.recipe.augmentation.depth_sensor
        recorded = [each for each in self.recipe.modalities if each.name in images]
        photographs = [each for each in recorded if is_photograph(each)]
        sensed = {}
        for each in recorded:
            whole, image = needs_whole_image(each), images[each.name]
            seen = self._seen(each, image, view, whole)
            if strength and isinstance(each, DepthModality) and not comes_from_a_sensor(image):
                depth_m, _ = metric_depth(seen)
                color = [self._seen(one, images[one.name], view, whole) for one in photographs[:1]]
                width = self.recipe.input_width if whole else view.size[1]
                seen = sense(depth_m, color[0] if color else None, width, strength, random)
            sensed[each.name] = seen
        return sensed

    def _seen(self, modality: Modality, image: NDArray[Any], view: View, whole: bool) -> NDArray[Any]:
        """The view of an image, or all of it as the robot's network sees it."""
        size = (self.recipe.input_height, self.recipe.input_width)
        return resize(modality, image, size) if whole else view.of_image(modality, image)

    def _inputs(
        self,
        images: Images,
        normalized: Callable[[Modality, NDArray[Any]], NDArray[np.float32]],
        exposure: np.random.Generator,
        failing: np.random.Generator,
        disturbance: np.random.Generator | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(M, 3, H, W) network input of teacher and student; zeros where a modality was not recorded."""
        method, change = self.recipe.method, self.recipe.augmentation
        weak = np.zeros((len(self.recipe.modalities), 3, *self.phase.crop), np.float32)
        strong = weak.copy()
        noisy = disturbance is not None and disturbance.random() < method.noise
        for index, modality in enumerate(self.recipe.modalities):
            if modality.name not in images:
                continue
            image = jitter(modality, images[modality.name], change.color_jitter, change.depth_jitter, exposure)
            strong[index] = weak[index] = normalized(modality, image)
            fails = failing.random() < change.failing_sensor
            stronger = None if disturbance is None else method.strong_view
            if fails:
                image = degrade(modality, image, failing)
            if disturbance is not None and stronger is not None:
                image = disturb(modality, image, stronger, disturbance)
            if fails or stronger is not None:
                strong[index] = normalized(modality, image)
            if disturbance is not None and noisy:
                add_noise(strong[index], disturbance)
        return weak, strong

    def _read(self, source: Position) -> tuple[Images, NDArray[np.uint8] | None]:
        if source not in self.cache:
            sample = self.lists[source[0]][source[1]]
            images, label = read_sample(sample, self.recipe.modalities, len(self.recipe.labels))
            needed = sum(image.nbytes for image in (*images.values(), label) if image is not None)
            if needed > self.cache_left:
                return images, label
            self.cache_left -= needed
            self.cache[source] = images, label
        return self.cache[source]


def check_batches(recipe: Recipe, ranks: Ranks) -> None:
    """Look at the batches of every phase before the first one begins.

    Raises:
        RecipeError: a batch cannot be shared evenly, or leaves a process nothing to mix.
    """
    for phase in recipe.phases:
        part = len(ranks.share(range(phase.batch)))
        if recipe.method.cutmix and part < 2:
            raise RecipeError(
                f"cutmix needs two unlabelled frames in each process, a batch of {phase.batch} over {ranks.count} is "
                f"{part} each: take a larger batch, fewer processes, or cutmix=0"
            )


def training_batches(
    lists: tuple[Sequence[Sample], Sequence[Sample]],
    recipe: Recipe,
    start: int,
    workers: int,
    ranks: Ranks,
    cache_bytes: int = 0,
) -> Iterator[Batch]:
    """This rank's part of the batches of iteration ``start`` and after, phase by phase.

    Args:
        lists: labelled and unlabelled samples.
        recipe: its phases and its seed decide every batch.
        start: first iteration, counted over all phases.
        workers: processes that load images; 0 loads them in this one.
        ranks: the processes that share a batch.
        cache_bytes: memory for decoded images, of all workers together.

    Raises:
        DatasetError: an image cannot be used.
        RecipeError: a batch cannot be shared evenly.
    """
    first = 0
    for phase in recipe.phases:
        skipped = min(start, phase.iterations)
        start -= skipped
        with_unlabelled = recipe.method.pseudo_labels != "none" and bool(lists[1])
        batches = [
            [
                (stream, number)
                for stream in ((0, 1) if with_unlabelled else (0,))
                for number in ranks.share(range(first + step * phase.batch, first + (step + 1) * phase.batch))
            ]
            for step in range(skipped, phase.iterations)
        ]
        first += phase.iterations * phase.batch
        if batches:
            dataset = TrainingSamples(lists, recipe, phase, cache_bytes // max(1, workers))
            # A generator of its own: else every start of a loader draws from the one that drives the training.
            loader: Iterable[Batch | M3LError] = DataLoader(
                dataset,
                batch_sampler=batches,
                num_workers=workers,
                generator=torch.Generator(),
                worker_init_fn=_leave_signals_to_the_trainer,
                collate_fn=_stack,
            )
            for batch in loader:
                if isinstance(batch, M3LError):
                    raise batch
                yield batch


def _stack(samples: list[Batch] | M3LError) -> Batch | M3LError:
    return samples if isinstance(samples, M3LError) else Batch._make(map(torch.stack, zip(*samples, strict=True)))


def _leave_signals_to_the_trainer(worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach every process; the trainer ends its workers when its state is saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_when_the_trainer_says, daemon=True).start()


def _end_when_the_trainer_says() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
