"""What each of the two processes of test_two_ranks.py does; run as a script, with torchrun's variables set."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import torch
from support.networks import TINY_EFFICIENTNET
from support.rooms import METHODS, SEVERAL_SETS, read_rooms, recipe, training_data
from torch import nn

from m3l_core.errors import M3LError
from m3l_core.trainer.batches import Batch
from m3l_core.trainer.data import TrainingData, read_data
from m3l_core.trainer.distributed import Ranks, synchronize_norms
from m3l_core.trainer.interruption import Interrupted
from m3l_core.trainer.recipe import Recipe
from m3l_core.trainer.trainer import Trainer

CASES: dict[str, dict[str, Any]] = {
    "supervised": {"method": METHODS["supervised"]},
    "M3L": {"method": METHODS["M3L"]},
    "everything": {"method": METHODS["everything"]},
    "everything, without the missing streams": {"method": METHODS["everything"], "missing": "no_stream"},
    "cross": {"method": METHODS["cross"] | {"modality_dropout": {}}},
    "EfficientNet, without the missing streams": {
        "method": METHODS["everything"],
        "missing": "no_stream",
        "encoder": TINY_EFFICIENTNET.model_dump(),
    },
    "several sets": {"method": METHODS["mean teacher"], "data": SEVERAL_SETS},
}
PARTS = (3, 5)
"""How many images of a batch each rank norms."""


def case_recipe(name: str) -> Recipe:
    """Without dropout, which ranks draw for themselves."""
    phase = {"iterations": 4, "batch": 4, "crop": [32, 48], "scale": [0.4, 1.0]}
    changes: dict[str, Any] = {"phases": [phase], "drop_path": 0.0, "head_dropout": 0.0, "checkpoint_every": 100}
    return recipe(**changes, evaluate_every=2, **CASES[name])


def case_data(name: str, folder: Path) -> TrainingData:
    """Of a folder that holds rooms, and several sets."""
    made = case_recipe(name)
    return read_data(made, folder) if isinstance(made.data, tuple) else training_data(read_rooms(folder))


def norm_case() -> tuple[nn.BatchNorm2d, torch.Tensor, torch.Tensor]:
    """A batch norm, images for it, and what their outputs are multiplied by."""
    generator = torch.Generator().manual_seed(0)
    images, weights = (torch.randn(sum(PARTS), 4, 5, 6, generator=generator) for _ in range(2))
    norm = nn.BatchNorm2d(4)
    nn.init.uniform_(norm.weight, 0.5, 2.0, generator=generator)
    nn.init.uniform_(norm.bias, -1.0, 1.0, generator=generator)
    return norm, (100.0 + 3.0 * images).requires_grad_(), weights


def normed(norm: nn.BatchNorm2d, images: torch.Tensor, weights: torch.Tensor) -> dict[str, torch.Tensor]:
    """Outputs, gradients and statistics after two steps, and the outputs in eval mode."""
    for _ in range(2):
        outputs = norm(images)
    (outputs * weights).sum().backward()
    gradients = {f"gradient of {name}": parameter.grad for name, parameter in norm.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    evaluated = norm.eval()(images)
    return {"outputs": outputs, "gradient": images.grad, "evaluated": evaluated, **gradients, **buffers}


class WatchedTrainer(Trainer):
    """Notes the samples it sees; the second rank may be told to stop, or see what is not a number."""

    def __init__(self, *arguments: Any, stop_at: int = -1, bad_at: int = -1, **options: Any) -> None:
        self.sources: list[torch.Tensor] = []
        self.stop_at, self.bad_at = stop_at, bad_at
        self.told: list[int] = []
        super().__init__(*arguments, **options, workers=0, monitors=(self,))
        for group in self.optimizer.param_groups:
            # Else rounding errors are steps as large as any, for weights that the loss does not depend on.
            group["eps"] = 1e-3

    def step(self, trainer: Trainer) -> None:
        self.told.append(trainer.iteration)

    def evaluation(self, trainer: Trainer) -> None:
        pass

    def _step(self, batch: Batch) -> None:
        self.sources.append(batch.source)
        if self.ranks.rank == 1 and self.iteration == self.bad_at:
            batch = batch._replace(strong=batch.strong * torch.nan)
        super()._step(batch)
        if self.ranks.rank == 1 and self.iteration == self.stop_at:
            signal.raise_signal(signal.SIGTERM)


def main(rooms: Path, output: Path) -> None:
    torch.set_num_threads(1)
    ranks, data = Ranks.join(), case_data("everything", rooms)
    found: dict[str, Any] = {}
    norm, images, weights = norm_case()
    synchronize_norms(nn.Sequential(norm))
    first = sum(PARTS[: ranks.rank])
    mine = slice(first, first + PARTS[ranks.rank])
    found["norm"] = normed(norm, images.detach()[mine].requires_grad_(), weights[mine])
    for name in CASES:
        trainer = WatchedTrainer(case_recipe(name), case_data(name, rooms), output / name, ranks=ranks)
        trainer.run()
        found[name] = {
            "losses": trainer.losses,
            "history": trainer.history,
            "sources": trainer.sources,
            "told": trainer.told,
            "average": trainer.averaged_network.state_dict(),
        }
    for name, options in {"told to stop": {"stop_at": 1}, "not a number": {"bad_at": 2}}.items():
        made = case_recipe("everything")
        trainer = WatchedTrainer(made, data, output / name, ranks=ranks, **options)
        try:
            trainer.run()
        except (Interrupted, M3LError) as error:
            found[name] = {"error": f"{type(error).__name__}: {error}", "iteration": trainer.iteration}
    resumed = WatchedTrainer(case_recipe("everything"), data, output / "told to stop", ranks=ranks)
    found["resumed"] = {"iteration": resumed.iteration}
    resumed.run()
    found["resumed"] |= {"losses": resumed.losses, "history": resumed.history}
    try:
        WatchedTrainer(case_recipe("everything"), data, output / ("elsewhere", "everything")[ranks.rank], ranks=ranks)
    except M3LError as error:
        found["apart"] = f"{type(error).__name__}: {error}"
    torch.save(found, output / f"rank_{ranks.rank}.pt")
    ranks.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
