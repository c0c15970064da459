"""What runs a network, and which of them this machine has."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import Protocol

from m3l_core.bundle import ModelBundle
from m3l_core.errors import EngineError, MissingPackageError
from m3l_core.frames import ModelInput, Segmentation

logger = logging.getLogger(__name__)


class Engine(Protocol):
    """Runs one bundle. Owned by one thread."""

    name: str
    precision: str

    def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        """Labels and confidence of (H, W) = ``size`` pixels."""
        ...


EngineLoader = Callable[[ModelBundle, str, int], Engine]

ENGINES: dict[str, str] = {"torch": "m3l_core.engines.torch_engine:load"}
"""Engine -> its ``EngineLoader``, imported when it is asked for; the fastest first."""


def load_engine(bundle: ModelBundle, name: str = "auto", precision: str = "auto", num_threads: int = 0) -> Engine:
    """Load an engine for a bundle.

    Args:
        bundle: the model.
        name: one of ``ENGINES``, or ``auto``: the first of them that loads.
        precision: ``fp32``, ``bf16``, or ``auto``: the fastest on this machine.
        num_threads: CPU threads; 0 = the library's choice.

    Raises:
        EngineError: no such engine or precision, or none can be loaded; says why for each.
        MissingPackageError: the engine's package is not installed.
        BundleError: the bundle's weights are not those of its network.
    """
    if name != "auto":
        return _loader(name)(bundle, precision, num_threads)
    failures = []
    for candidate in ENGINES:
        try:
            engine = _loader(candidate)(bundle, precision, num_threads)
        except (EngineError, MissingPackageError) as error:
            failures.append(f"{candidate}: {error}")
            continue
        logger.info("engine auto: %s %s%s", engine.name, engine.precision, f", not {failures}" if failures else "")
        return engine
    raise EngineError("no engine can be loaded. " + "; ".join(failures))


def _loader(name: str) -> EngineLoader:
    if name not in ENGINES:
        raise EngineError(f"unknown engine '{name}', expected auto or one of {', '.join(ENGINES)}")
    module, function = ENGINES[name].split(":")
    loader: EngineLoader = getattr(importlib.import_module(module), function)
    return loader
