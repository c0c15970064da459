"""Supervised training with randomly missing modalities, resumable to the same losses."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from m3l_core.datasets.folder import Sample
from m3l_core.errors import M3LError
from m3l_core.files import replacing_file
from m3l_core.model.config import NetworkConfig
from m3l_core.model.network import LinearFusionSegFormer, upsample
from m3l_core.trainer.batches import Batch, training_batches
from m3l_core.trainer.checkpoint import load_checkpoint, save_checkpoint
from m3l_core.trainer.evaluator import evaluate
from m3l_core.trainer.losses import ohem_cross_entropy
from m3l_core.trainer.recipe import Recipe

logger = logging.getLogger(__name__)


class SupervisedTrainer:
    """Trains one network by one recipe; everything it needs to go on lies in ``output``."""

    def __init__(
        self,
        recipe: Recipe,
        labelled: Sequence[Sample],
        validation: Sequence[Sample],
        output: Path,
        workers: int = 1,
    ) -> None:
        self.recipe = recipe
        self.labelled = labelled
        self.validation = validation
        self.output = output
        self.workers = workers
        torch.manual_seed(recipe.seed)
        self.network = LinearFusionSegFormer(
            NetworkConfig(
                encoder=recipe.encoder,
                num_modalities=len(recipe.modalities),
                num_classes=len(recipe.labels),
                head_width=recipe.head_width,
            ),
            recipe.drop_path,
            recipe.head_dropout,
        ).train()
        average = get_ema_multi_avg_fn(recipe.ema_decay)
        self.averaged = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
        self.optimizer = torch.optim.AdamW(self._parameter_groups(), lr=recipe.optimizer.learning_rate)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._learning_rate_factor)
        self.iteration = 0
        self.history: list[dict[str, Any]] = []
        self.losses: list[float] = []
        self._resume()

    @property
    def averaged_network(self) -> LinearFusionSegFormer:
        return cast("LinearFusionSegFormer", self.averaged.module)

    def run(self) -> LinearFusionSegFormer:
        """Train to the end of the recipe.

        Returns:
            The averaged network, in eval mode.

        Raises:
            M3LError: the loss is not finite.
        """
        recipe = self.recipe
        started, first = time.monotonic(), self.iteration
        for batch in training_batches(self.labelled, recipe, self.iteration, self.workers):
            self.losses.append(self._step(batch))
            self.iteration += 1
            if self.iteration % 20 == 0:
                pace = (time.monotonic() - started) / (self.iteration - first)
                logger.info(
                    "iteration %d/%d: loss %.3f, %.2f s each, %.0f min left",
                    self.iteration,
                    recipe.iterations,
                    sum(self.losses[-20:]) / 20,
                    pace,
                    pace * (recipe.iterations - self.iteration) / 60,
                )
            last = self.iteration == recipe.iterations
            if last or self.iteration % recipe.evaluate_every == 0:
                self._evaluate()
            if last or self.iteration % recipe.checkpoint_every == 0:
                self._save()
        return self.averaged_network.eval()

    def _step(self, batch: Batch) -> float:
        images, present, label = batch
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.mixed_precision):
            streams = self.network(images, present)
        size = (label.shape[-2], label.shape[-1])
        # The ensemble is an output as well: it is what is used, and without it alpha would never learn.
        outputs = [*streams, self.network.ensemble(streams, present)]
        losses = [
            ohem_cross_entropy(upsample(logits.float(), size), label, self.recipe.ohem_threshold) for logits in outputs
        ]
        loss = torch.stack(losses).mean()
        if not torch.isfinite(loss):
            raise M3LError(f"the loss became {loss.item()} at iteration {self.iteration}: lower the learning rate")
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.averaged.update_parameters(self.network)
        return loss.item()

    def _evaluate(self) -> None:
        size = (self.recipe.input_height, self.recipe.input_width)
        matrices = evaluate(
            self.averaged_network, self.validation, self.recipe.modalities, size, self.recipe.mixed_precision
        )
        miou = {subset: round(matrix.mean_iou(), 4) for subset, matrix in matrices.items()}
        logger.info("iteration %d, validation mIoU: %s", self.iteration, miou)
        self.history.append({"iteration": self.iteration, "miou": miou})
        with replacing_file(self.output / "history.json") as temporary:
            temporary.write_text(json.dumps(self.history, indent=1), encoding="utf-8")

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Vectors (norms, biases, mask token) are not decayed."""
        parameters = list(self.network.parameters())
        normed = {id(p) for name, p in self.network.named_parameters() if p.dim() < 2 or "norm" in name}
        return [
            {
                "params": [p for p in parameters if id(p) not in normed],
                "weight_decay": self.recipe.optimizer.weight_decay,
            },
            {"params": [p for p in parameters if id(p) in normed], "weight_decay": 0.0},
        ]

    def _learning_rate_factor(self, iteration: int) -> float:
        optimizer = self.recipe.optimizer
        if iteration < optimizer.warmup_iterations:
            return (iteration + 1) / optimizer.warmup_iterations
        left = (self.recipe.iterations - iteration) / (self.recipe.iterations - optimizer.warmup_iterations)
        return float(max(0.0, left) ** optimizer.power)

    @property
    def _checkpoint(self) -> Path:
        return self.output / "checkpoint.pt"

    def _parts(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "averaged": self.averaged,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }

    def _save(self) -> None:
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {
            "recipe": self.recipe.model_dump(mode="json"),
            "iteration": self.iteration,
            "history": self.history,
            "losses": self.losses,
            "random": torch.get_rng_state(),
        }
        save_checkpoint(self._checkpoint, state)

    def _resume(self) -> None:
        if not self._checkpoint.exists():
            return
        state = load_checkpoint(self._checkpoint, self.recipe.model_dump(mode="json"))
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.iteration, self.history, self.losses = state["iteration"], state["history"], state["losses"]
        torch.set_rng_state(state["random"])
        logger.info("going on from iteration %d of %s", self.iteration, self._checkpoint)
