"""Built engines in the user's cache: found again by what they were built from, for and with, and never half."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from m3l_core.bundle import ModelBundle
from m3l_core.engines.cuda_device import CudaDevice
from m3l_core.engines.engine import graph_file
from m3l_core.engines.label_sizes import LabelSizes
from m3l_core.errors import EngineError
from m3l_core.files import cache_folder, finish_folder, replacing_folder
from m3l_core.installation import command
from m3l_core.json_files import read_json
from m3l_core.validation import checked

_ENGINE_FILE = "engine.plan"
_FACTS_FILE = "engine.json"
_AMPERE = (8, 0)


class EngineFacts(BaseModel):
    """All that decides what an engine is; any difference is another engine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    """Counted up when the program builds otherwise."""
    graph_sha256: str
    weights_sha256: str
    precision: str
    label_sizes: LabelSizes
    tensorrt: str
    """Version of the library that built it."""
    gpu: str
    compute_capability: tuple[int, int]
    workspace_bytes: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False

    @property
    def key(self) -> str:
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def obstacle(self, tensorrt: str, device: CudaDevice) -> str | None:
        """Why it does not run here, if so; by NVIDIA's rules, a foreign engine may crash or label wrongly."""
        theirs, ours = _version(self.tensorrt), _version(tensorrt)
        if self.tensorrt != tensorrt and not (self.version_compatible and theirs[0] == ours[0] and theirs <= ours):
            return f"built by TensorRT {self.tensorrt}, this is {tensorrt}"
        same_gpu = (self.gpu, self.compute_capability) == (device.name, device.compute_capability)
        if not same_gpu and not (self.hardware_compatible and device.compute_capability >= _AMPERE):
            return f"built for {self.gpu}, this is {device.name}"
        return None


class _Sidecar(BaseModel):
    model_config = ConfigDict(extra="forbid")

    facts: EngineFacts
    engine_sha256: str
    report: str


@dataclass(frozen=True, slots=True)
class StoredEngine:
    """An engine as it was built."""

    facts: EngineFacts
    content: bytes
    report: str
    """How it was built and what it consists of, for the user."""


def engine_folder() -> Path:
    return cache_folder() / "engines"


def store(engine: StoredEngine) -> None:
    """Write an engine into the cache, whole or not at all, in place of a former one with the same facts.

    Raises:
        EngineError: the disk does not take it; a former one is still there.
    """
    digest = hashlib.sha256(engine.content).hexdigest()
    sidecar = _Sidecar(facts=engine.facts, engine_sha256=digest, report=engine.report)
    try:
        with replacing_folder(engine_folder() / engine.facts.key) as folder:
            (folder / _ENGINE_FILE).write_bytes(engine.content)
            (folder / _FACTS_FILE).write_text(sidecar.model_dump_json(indent=1), encoding="utf-8")
    except OSError as error:
        raise EngineError(
            f"the engine cannot be stored in {engine_folder()} ({error}): make room, or name a folder with M3L_CACHE"
        ) from error


def read(key: str) -> StoredEngine:
    """The engine with a key.

    Raises:
        EngineError: there is none, or it is not as it was written.
    """
    path = engine_folder() / key / _ENGINE_FILE
    try:
        finish_folder(path.parent)
        sidecar = _read_sidecar(key)
        content = path.read_bytes()
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error}") from error
    if hashlib.sha256(content).hexdigest() != sidecar.engine_sha256:
        raise EngineError(f"{path} is damaged: it is not the engine that {_FACTS_FILE} describes")
    return StoredEngine(sidecar.facts, content, sidecar.report)


def find(bundle: ModelBundle, precision: str, tensorrt: str, device: CudaDevice) -> StoredEngine:
    """The newest engine of a bundle that runs here.

    Raises:
        EngineError: there is none; names those that are refused, and the command that builds one.
        BundleError: the bundle has no graph for this precision.
    """
    digests = graph_digests(bundle, precision)
    refused = []
    folders = [path.parent for path in engine_folder().glob(f"[!.]*/{_FACTS_FILE}")]
    for folder in sorted(folders, key=lambda each: each.stat().st_mtime_ns, reverse=True):
        try:
            facts = _read_sidecar(folder.name).facts
            if (facts.graph_sha256, facts.weights_sha256, facts.precision) != (*digests, precision):
                continue
            obstacle = facts.obstacle(tensorrt, device)
            if obstacle is None:
                return read(folder.name)
            refused.append(f"{folder} was {obstacle}")
        except EngineError as error:
            refused.append(str(error))
    raise EngineError(
        f"no {precision} engine of this bundle is built for this machine: build one with {command('m3l_build_engine')} "
        f"{bundle.folder} --precision {precision}" + (f". Refused: {'; '.join(refused)}" if refused else "")
    )


def _read_sidecar(key: str) -> _Sidecar:
    path = engine_folder() / key / _FACTS_FILE
    try:
        sidecar = checked(_Sidecar, read_json(path))
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise EngineError(f"{path} is damaged: {error}") from error
    if sidecar.facts.key != key:
        raise EngineError(f"{path} is damaged: it describes another engine than that of its folder")
    return sidecar


def graph_digests(bundle: ModelBundle, precision: str) -> tuple[str, str]:
    """sha256 of the graph for a precision, and of the weights that it refers to.

    Raises:
        BundleError: the bundle has no such graph.
    """
    name = graph_file(precision)
    bundle.graph(name)  # is the file that the description speaks of
    return bundle.description.graphs[name], bundle.description.weights_sha256


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
