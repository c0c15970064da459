"""A trained network becomes a model bundle with its card."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m3l_core.bundle import BundleDescription, ModelBundle, join_bundles, save_bundle
from m3l_core.metrics import mm_robust, subset_key, subsets
from m3l_core.model.network import LinearFusionSegFormer
from m3l_core.trainer.provenance import Provenance
from m3l_core.trainer.recipe import Recipe
from m3l_core.trainer.reporting.progress import MEAN

_MISSING = {"mask_token": "is fed as the learnt mask token", "no_stream": "is left out of the network"}
_NOT_MEASURED = "not measured"


def export_bundle(
    network: LinearFusionSegFormer,
    recipe: Recipe,
    history: list[dict[str, Any]],
    provenance: Provenance,
    folder: Path,
    temperatures: Mapping[str, float] | None = None,
) -> ModelBundle:
    """Write ``network`` with all that the robot must know; the last entry of ``history`` is its measured mIoU.

    Raises:
        BundleError: a weight is not finite; nothing is written then.
    """
    miou: dict[str, float] = history[-1]["miou"]
    description = BundleDescription(
        name=recipe.name,
        network=network.config,
        labels=recipe.labels,
        modalities=recipe.network_modalities,
        input_height=recipe.input_height,
        input_width=recipe.input_width,
        training=provenance.model_dump(mode="json"),
        miou={subset: value for subset, value in miou.items() if math.isfinite(value)},
        temperatures=dict(temperatures or {}),
    )
    return save_bundle(folder, description, weights_of(network), _card(description, recipe.description, provenance))


def export_joined(output: Path, recipe: Recipe, provenance: Provenance) -> ModelBundle:
    """Join the bundles of a recipe's networks, as training/train.py leaves them below ``output``, to one."""
    settings = recipe.subset_networks
    assert settings is not None
    full = ModelBundle.load(output / "full" / "bundle")
    networks = {
        subset_key(names): ModelBundle.load(output / subset_key(names) / "bundle") for names in settings.subsets
    }
    miou = full.description.miou | {key: each.description.miou[key] for key, each in networks.items()}
    described = full.description.model_copy(update={"miou": miou, "subset_networks": dict.fromkeys(networks, "")})
    return join_bundles(output / "bundle", full, networks, _card(described, recipe.description, provenance))


def weights_of(network: LinearFusionSegFormer) -> dict[str, NDArray[np.float32]]:
    """What a bundle keeps of a network, by name."""
    return {
        name: tensor.float().cpu().numpy()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def _card(description: BundleDescription, told: str, provenance: Provenance) -> str:
    start = provenance.start_weights
    facts = {
        "network": f"Linear Fusion SegFormer, encoder {description.network.encoder}",
        "input": f"{', '.join(description.modality_names)}; {description.input_width}x{description.input_height}",
        "classes": ", ".join(description.labels.names),
        **provenance.rows(),
        "command": f"`{provenance.command}`",
        "licence": "; ".join(
            [
                start.licence + ("" if start.commercial else ": no commercial use, as far as is known"),
                *(f"of the labels of {each.name}: {each.licence}" for each in provenance.teachers),
            ]
        ),
    }
    notice = f"\n> **Note.** {start.notice}\n" if start.notice else ""
    measured_on = " and ".join(f"`{each.index(each.validation)}`" for each in provenance.data if each.validation)
    measured = description.miou
    keys = [subset_key(names) for names in subsets(description.modality_names)]
    miou = {key.replace("+", " and "): f"{measured[key]:.3f}" if key in measured else _NOT_MEASURED for key in keys}
    mean = f"{mm_robust(measured):.3f}" if len(measured) == len(keys) else _NOT_MEASURED
    own = "".join(f"; {key} alone has a network of its own" for key in description.subset_networks)
    return f"""# Model card: {description.name}

{told}.
{notice}
{_table(("", ""), facts)}

Mean IoU on {measured_on}; a missing modality {_MISSING[description.network.missing]}{own}:

{_table(("sensors", "mIoU"), miou | {MEAN: mean})}
"""


def _table(head: tuple[str, str], rows: Mapping[str, str]) -> str:
    lines = [head, ("---", "---"), *rows.items()]
    return "\n".join(f"| {left} | {right} |" for left, right in lines)
