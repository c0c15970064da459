"""MATLAB files: up to version 7 by scipy, version 7.3 (HDF5) by h5py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from m3l_core.errors import DatasetError, require

_Found = TypeVar("_Found")


def load_variable(path: Path, variable: str) -> list[Any]:
    """The elements of a variable of a file that is older than version 7.3.

    Raises:
        DatasetError: the file cannot be read, or has no such variable.
        MissingPackageError: scipy is not installed.
    """
    loadmat = require("scipy.io", "datasets").loadmat
    try:
        content = loadmat(path, squeeze_me=True, struct_as_record=False, variable_names=[variable])
        return list(np.atleast_1d(content[variable]))
    except Exception as error:  # of many kinds, if the file is damaged
        raise DatasetError(f"{path} cannot be read for its variable {variable}: {error}") from error


def read_hdf5(path: Path, what: str, read: Callable[[Any], _Found]) -> _Found:
    """What ``read`` takes from an open file of version 7.3, which stores columns first; ``what`` is for its errors.

    Raises:
        DatasetError: the file cannot be read, or does not hold that.
        MissingPackageError: h5py is not installed.
    """
    h5py = require("h5py", "datasets")
    try:
        with h5py.File(path, "r") as content:
            return read(content)
    except (OSError, LookupError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read for {what}: {error}") from error
