"""Presets of camera drivers: which of their topics the node reads, and the parameters that suit them.

One YAML file a camera, named after it, with ``remappings`` and, if need be, ``parameters``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)

from m3l_core.errors import M3LError
from m3l_core.files import home_expanded
from m3l_core.validation import checked
from m3l_core.yaml_files import read_yaml

_Topic = Annotated[str, Field(pattern=r"^[/~A-Za-z_][/A-Za-z0-9_]*$")]


class CameraPresetError(M3LError):
    """A camera preset does not exist or is not what it should be."""


class CameraPreset(BaseModel):
    """What one camera's driver calls its topics."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    remappings: Annotated[dict[_Topic, _Topic], Field(min_length=1)]
    """The node's topic -> the driver's topic."""
    parameters: dict[str, StrictBool | StrictInt | StrictFloat | StrictStr] = {}
    """Parameters of the node, dotted names for nested ones."""


def camera_names(folder: Path) -> list[str]:
    """The cameras that ``folder`` holds a preset for, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load_camera_preset(folder: Path, camera: str) -> CameraPreset:
    """Read ``<folder>/<camera>.yaml``, or the file that ``camera`` is the path of.

    Raises:
        CameraPresetError: no such camera (the text lists those there are), no such file, or it is not a preset.
    """
    if "/" in camera or camera.endswith(".yaml"):
        try:
            path = home_expanded(camera)
        except M3LError as error:
            raise CameraPresetError(f"There is no camera preset {error}") from error
        if not path.is_file():
            raise CameraPresetError(f"There is no camera preset {path}: expected a YAML file with remappings")
    elif camera in (known := camera_names(folder)):
        path = folder / f"{camera}.yaml"
    else:
        choice = ", ".join(known) or f"no preset at all in {folder}"
        raise CameraPresetError(f"No preset for the camera '{camera}'. There is: {choice}; or give the path of a file")
    try:
        return checked(CameraPreset, read_yaml(path))
    except (OSError, yaml.YAMLError) as error:
        raise CameraPresetError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    except ValueError as error:
        raise CameraPresetError(f"{path} is not a camera preset: {error}") from error
