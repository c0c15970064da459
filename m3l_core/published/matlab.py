"""MATLAB files: up to version 7 by scipy, version 7.3 (HDF5) by h5py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from m3l_core.errors import DatasetError, require

_Found = TypeVar("_Found")


def load_variable(path: Path, variable: str) -> NDArray[Any]:
    """A variable of a file that is older than version 7.3, without axes of length 1; cells and structs are objects.

    Raises:
        DatasetError: the file cannot be read, or has no such variable.
        MissingPackageError: scipy is not installed.
    """
    loadmat = require("scipy.io", "datasets").loadmat
    try:
        content = loadmat(path, squeeze_me=True, struct_as_record=False, variable_names=[variable])
        return np.atleast_1d(content[variable])
    except Exception as error:  # of many kinds, if the file is damaged
        raise DatasetError(f"{path} cannot be read for its variable {variable}: {error}") from error


def load_numbers(path: Path, variable: str) -> list[int]:
    """The whole numbers of a variable that is one, a row or a column.

    Raises:
        DatasetError: as ``load_variable``, and for anything else.
        MissingPackageError: scipy is not installed.
    """
    found = load_variable(path, variable)
    expected = f"{path}: expected {variable} to be a row or a column of whole numbers, found"
    if found.ndim != 1 or not found.size or found.dtype.kind not in "uif":
        raise DatasetError(f"{expected} {found.shape} {found.dtype}")
    if (others := found[~np.isfinite(found) | (found != np.rint(found))]).size:
        raise DatasetError(f"{expected} {others[0]}")
    return [int(number) for number in found]


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
    except Exception as error:  # of many kinds, if the file is damaged
        raise DatasetError(f"{path} cannot be read for {what}: {error}") from error


def stored_array(content: Any, place: Any, dtypes: str | tuple[str, ...], axes: int, expected: str) -> Any:
    """An array of an open file of version 7.3, of which nothing is read yet.

    Args:
        content: the open file.
        place: the name of the array, or a reference to it.
        dtypes: it has one of them; ``u1`` is uint8, ``f`` any float, ``O`` cells.
        axes: how many it has.
        expected: what it should be, in words.

    Raises:
        LookupError: there is nothing.
        ValueError: there is something else, or an empty array.
    """
    found = content[place]
    shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", None)
    if shape is None or dtype is None:
        raise ValueError(f"expected {expected}, found {found}")
    if len(shape) != axes or 0 in shape or not dtype.str[1:].startswith(dtypes):  # the first tells the byte order
        raise ValueError(f"expected {expected}, found {shape} {dtype}")
    return found
