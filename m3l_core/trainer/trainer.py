"""The training loop: supervised, mean teacher, cross pseudo supervision and M3L are choices of a recipe's method."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from m3l_core.errors import CheckpointError, M3LError, RecipeError
from m3l_core.model.network import LinearFusionSegFormer
from m3l_core.trainer.batches import Batch, check_batches, training_batches
from m3l_core.trainer.checkpoint import ingredients, load_checkpoint, save_checkpoint
from m3l_core.trainer.data import TrainingData
from m3l_core.trainer.distributed import Ranks, synchronize_norms
from m3l_core.trainer.evaluator import evaluate_sets, rounded_shares
from m3l_core.trainer.interruption import Interrupted, stop_on_signals
from m3l_core.trainer.objective import Forward, objective
from m3l_core.trainer.optimization import learning_rate_schedule, moving_average, new_networks, parameter_groups
from m3l_core.trainer.recipe import Recipe
from m3l_core.trainer.repeatability import repeatable

logger = logging.getLogger(__name__)


class Monitor(Protocol):
    """Is told what happens, and shows it."""

    def step(self, trainer: Trainer) -> None:
        """An iteration has ended."""

    def evaluation(self, trainer: Trainer) -> None:
        """The last entry of ``trainer.history`` is new."""


class Trainer:
    """Trains by one recipe; everything it needs to go on lies in ``output``.

    Args:
        recipe: all that decides the outcome.
        data: labelled, unlabelled and validation samples.
        output: folder of the checkpoint.
        workers: processes that load images; 0 loads them between the steps.
        cache_bytes: memory for decoded images.
        ranks: the processes that train together.
        monitors: are told of every step and evaluation, on the first rank.
        full: of a student of a subset of the modalities, the network of all of them, which teaches it.

    Raises:
        CheckpointError: ``output`` holds a damaged checkpoint, another version's, or not the same one for every rank.
        RecipeError: ``output`` holds the checkpoint of another recipe or other data; the ranks cannot share a batch.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: TrainingData,
        output: Path,
        *,
        workers: int = 1,
        cache_bytes: int = 0,
        ranks: Ranks | None = None,
        monitors: tuple[Monitor, ...] = (),
        full: LinearFusionSegFormer | None = None,
    ) -> None:
        if (recipe.method.pseudo_labels == "full") != (full is not None):
            raise RecipeError(f"{recipe.name}: the network of all sensors teaches a subset's, and only that one")
        self.recipe, self.data, self.output = recipe, data, output
        self.workers, self.cache_bytes = workers, cache_bytes
        self.ranks = ranks or Ranks()
        self.monitors = monitors if self.ranks.rank == 0 else ()
        self.device = self.ranks.device
        check_batches(recipe, self.ranks)
        networks, self.start_weights = new_networks(recipe, full)
        self._made_with = ingredients(recipe, data, networks[0], full)
        self.students = [network.to(self.device) for network in networks]
        """One, or two that label for each other."""
        self.averages = [
            AveragedModel(student, multi_avg_fn=moving_average(recipe.ema_decay), use_buffers=True)
            for student in self.students
        ]
        teachers: dict[str, list[LinearFusionSegFormer | None]] = {
            "none": [None],
            "mean_teacher": [self.averaged_network],
            "cross": [*reversed(self.students)],
            "full": [None if full is None else full.to(self.device).requires_grad_(False)],
        }
        self.teachers = teachers[recipe.method.pseudo_labels]
        """Who labels for each student."""
        self.optimizer = torch.optim.AdamW(parameter_groups(self.students, recipe.optimizer))
        self.schedule = learning_rate_schedule(self.optimizer, recipe)
        if self.ranks.count > 1:
            synchronize_norms(torch.nn.ModuleList([*self.students, *self.averages]))
        self.forwards = [self._callable(student) for student in self.students]
        self.iteration = 0
        self.losses: list[dict[str, float]] = []
        """Of each iteration: ``loss`` and what it is made of."""
        self.history: list[dict[str, Any]] = []
        """Of each evaluation: ``iteration``; what ``evaluate_sets`` gives; ``kept``, the share of the pseudo labels
        that counted, by class; None where there is no such share."""
        self.kept = torch.zeros(2, len(recipe.labels))
        """Weight and number of the pseudo labels of each class since the last evaluation."""
        self.seconds = self.waited = 0.0
        """Time of all steps, and how much of it they waited for data."""
        self._resume()
        self.ranks.check_start(self.iteration)

    @property
    def averaged_network(self) -> LinearFusionSegFormer:
        """The mean of the (first) student over time, which is evaluated and shipped."""
        return cast("LinearFusionSegFormer", self.averages[0].module)

    def run(self) -> LinearFusionSegFormer:
        """Train to the end of the recipe.

        Returns:
            The averaged network, in eval mode.

        Raises:
            M3LError: the loss or its gradient is not finite; names the files of that batch.
            Interrupted: a signal came; the state is saved.
        """
        recipe = self.recipe
        with stop_on_signals() as stop, repeatable(self.device, recipe.repeatable):
            for batch in self._batches():
                self._step(batch)
                self.iteration += 1
                for monitor in self.monitors:
                    monitor.step(self)
                last = self.iteration == recipe.iterations
                if last or self.iteration % recipe.evaluate_every == 0:
                    self._evaluate()
                # The ranks stop at the same step, whichever of them was told to.
                if told := self.ranks.largest(stop.signal_number):
                    self._save()
                    raise Interrupted(self.iteration, told)
                if last:
                    self._save()
                elif self.iteration % recipe.checkpoint_every == 0:
                    self._save_if_possible()
        return self.averaged_network.eval()

    def _step(self, batch: Batch) -> None:
        recipe, method = self.recipe, self.recipe.method
        # Dropout is a function of the iteration too, so there is no random state to keep.
        state = np.random.SeedSequence([recipe.seed, self.iteration, self.ranks.rank]).generate_state(1)
        torch.manual_seed(int(state[0]))
        ramp = min(1.0, self.iteration / method.pseudo_ramp_iterations) if method.pseudo_ramp_iterations else 1.0
        with self._precision(batch):
            objectives = [
                objective(student, forward, teacher, batch, recipe, ramp, self.ranks)
                for student, forward, teacher in zip(self.students, self.forwards, self.teachers, strict=True)
            ]
        terms = {name: torch.stack([each.terms[name] for each in objectives]).sum() for name in objectives[0].terms}
        loss = torch.stack([*terms.values()]).sum()
        # Of all ranks, so that they stop together.
        shown = self.ranks.sum(torch.stack([loss, *terms.values()])) / self.ranks.count
        self._stop_unless_finite("loss", shown[0], batch)
        self.optimizer.zero_grad()
        loss.backward()
        clip = recipe.optimizer.gradient_clip
        norm = torch.nn.utils.clip_grad_norm_([*self._parameters()], math.inf if clip is None else clip)
        self._stop_unless_finite("gradient", norm, batch)
        self.optimizer.step()
        self.schedule.step()
        for average, student in zip(self.averages, self.students, strict=True):
            average.update_parameters(student)
        self.losses.append(dict(zip(("loss", *terms), shown.tolist(), strict=True)))
        kept = torch.stack([each.kept for each in objectives]).sum(dim=0)
        self.kept += self.ranks.sum(kept.to(self.device)).cpu()

    def _stop_unless_finite(self, what: str, value: torch.Tensor, batch: Batch) -> None:
        """Before the weights and their average are touched."""
        if not torch.isfinite(value):
            raise M3LError(
                f"the {what} became {value.item()} at iteration {self.iteration}: look at the files of this batch, "
                f"then lower the learning rate: {', '.join(map(str, self._files(batch)))}"
            )

    @contextmanager
    def _precision(self, batch: Batch) -> Iterator[None]:
        # Where an image has few keys, the backward pass of fused attention costs a CPU more than attention itself.
        few_keys = batch.label.shape[1] * batch.label.shape[2] <= 64 * 32**2
        plain_attention = self.device.type == "cpu" and few_keys
        with (
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.mixed_precision),
            sdpa_kernel(SDPBackend.MATH) if plain_attention else nullcontext(),
        ):
            yield

    def _batches(self) -> Iterator[Batch]:
        """Batches on the device; the time they take to come and to be used is noted."""
        lists = (self.data.labelled, self.data.unlabelled)
        batches = training_batches(lists, self.recipe, self.iteration, self.workers, self.ranks, self.cache_bytes)
        started = time.monotonic()
        for batch in batches:
            came = time.monotonic()
            self.waited += came - started
            yield Batch(*(tensor.to(self.device, non_blocking=True) for tensor in batch))
            self.seconds += time.monotonic() - started
            started = time.monotonic()

    def _evaluate(self) -> None:
        recipe = self.recipe
        figures = evaluate_sets(
            self.averaged_network,
            self.data.validation,
            recipe.network_modalities,
            (recipe.input_height, recipe.input_width),
            recipe.mixed_precision,
            self.ranks,
        )
        weight, number = self.kept.tolist()
        self.kept.zero_()
        kept = rounded_shares(w / n if n else math.nan for w, n in zip(weight, number, strict=True))
        self.history.append({"iteration": self.iteration, **figures, "kept": kept})
        for monitor in self.monitors:
            monitor.evaluation(self)

    def _callable(self, student: LinearFusionSegFormer) -> Forward:
        """How a student is run while it trains."""
        forward: Any = student
        if self.ranks.count > 1:
            forward = DistributedDataParallel(student)
        return cast("Forward", torch.compile(forward) if self.recipe.compiled else forward)

    def _parameters(self) -> Iterator[torch.nn.Parameter]:
        return (parameter for student in self.students for parameter in student.parameters())

    def _files(self, batch: Batch) -> list[Path]:
        lists = (self.data.labelled, self.data.unlabelled)
        return [path for stream, place in batch.source.tolist() for path in lists[stream][place].images.values()]

    @property
    def _checkpoint(self) -> Path:
        return self.output / "checkpoint.pt"

    def _parts(self) -> dict[str, Any]:
        return {
            "students": torch.nn.ModuleList(self.students),
            "averages": torch.nn.ModuleList(self.averages),
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }

    def _save(self) -> None:
        if self.ranks.rank:
            return
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {
            "made_with": self._made_with,
            "iteration": self.iteration,
            "history": self.history,
            "losses": self.losses,
            "kept": self.kept,
            "seconds": self.seconds,
            "waited": self.waited,
        }
        save_checkpoint(self._checkpoint, state)

    def _save_if_possible(self) -> None:
        """A full disk does not end a training that runs; the next checkpoint may fit."""
        try:
            self._save()
        except CheckpointError as error:
            logger.error("%s; the training goes on", error)

    def _resume(self) -> None:
        if not self._checkpoint.exists():
            return
        state = load_checkpoint(self._checkpoint, self._made_with)
        try:
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
            self.iteration, self.history, self.losses = state["iteration"], state["history"], state["losses"]
            self.kept, self.seconds, self.waited = state["kept"], state["seconds"], state["waited"]
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{self._checkpoint} was written by another version ({error}): go on with that one, or remove the file"
            ) from error
        logger.info("going on from iteration %d of %s", self.iteration, self._checkpoint)
