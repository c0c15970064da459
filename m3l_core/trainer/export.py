"""A trained network becomes a model bundle with its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from m3l_core.bundle import BundleDescription, ModelBundle, save_bundle
from m3l_core.model.network import LinearFusionSegFormer
from m3l_core.trainer.recipe import Recipe


def export_bundle(
    network: LinearFusionSegFormer, recipe: Recipe, history: list[dict[str, Any]], command: str, folder: Path
) -> ModelBundle:
    """Write ``network`` with all that the robot must know; the last entry of ``history`` is its measured mIoU."""
    miou: dict[str, float] = history[-1]["miou"]
    description = BundleDescription(
        name=recipe.name,
        network=network.config,
        labels=recipe.labels,
        modalities=recipe.modalities,
        input_height=recipe.input_height,
        input_width=recipe.input_width,
        training={
            "command": command,
            "recipe": recipe.name,
            "seed": recipe.seed,
            "iterations": recipe.iterations,
            "labelled": recipe.data.labelled,
            "validation": recipe.data.validation,
            "start_weights": "random",
        },
        miou=miou,
    )
    weights = {
        name: tensor.float().numpy()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    return save_bundle(folder, description, weights, _card(description, recipe))


def _card(description: BundleDescription, recipe: Recipe) -> str:
    rows = "\n".join(f"| {subset.replace('+', ' and ')} | {value:.3f} |" for subset, value in description.miou.items())
    return f"""# Model card: {description.name}

{recipe.description}.

| | |
|---|---|
| network | Linear Fusion SegFormer, encoder {description.network.encoder}, start weights random |
| input | {", ".join(description.modality_names)}; {description.input_width}x{description.input_height} |
| classes | {", ".join(description.labels.names)} |
| trained on | `{recipe.data.labelled}`, {recipe.iterations} iterations, seed {recipe.seed} |
| command | `{description.training["command"]}` |
| licence | Apache-2.0 |

Mean IoU on `{recipe.data.validation}`; a missing modality is fed as the learnt mask token:

| sensors | mIoU |
|---|---|
{rows}
"""
