"""Every error that m3l raises on purpose: what was expected, what came, what to do."""

from __future__ import annotations

import importlib
from types import ModuleType

from m3l_core.installation import install_command
from m3l_core.privacy import untold


class M3LError(Exception):
    """Base of all errors below; its text is meant for the user."""

    exit_status = 1
    """Of a command that ends with this error."""


class ImageMessageError(M3LError):
    """An image message cannot be turned into an array."""


class BundleError(M3LError):
    """A model bundle is missing, incomplete or does not fit the task."""


class DatasetError(M3LError):
    """A data set list or one of its files is not what it should be."""


class RecipeError(M3LError):
    """A training recipe has an unknown key or a value out of range."""


class ScenarioError(M3LError):
    """A scenario of a replay does not exist, or has an unknown key, an unknown fault or a value out of range."""


class CheckpointError(M3LError):
    """The state of a training cannot be written or read."""


class EngineError(M3LError):
    """An inference engine cannot be loaded or cannot run this input."""


class MissingPackageError(M3LError):
    """An optional package is not installed."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, such that it tells nobody of it.

    Raises:
        MissingPackageError: naming the extra of this package that brings it.
    """
    try:
        with untold():
            return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"This needs the Python package '{module}', which cannot be imported ({error}). "
            f"Install it with: {install_command(extra)}"
        ) from error
