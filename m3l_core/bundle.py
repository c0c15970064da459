"""A trained model as a folder: everything that the robot must know to run it as it was trained.

- ``model.yaml``: network, classes, modalities, input size, provenance, measured mIoU.
- ``weights.safetensors``: the weights, float16 or float32.
- ``model.onnx``, ``model.int8.onnx``: the network as engines other than torch run it, where exported.
- ``color/``, ``depth/``: where it was trained, a bundle for each smaller subset of the sensors, which runs in place of
  the whole network when no others are left.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from m3l_core.bundle_description import BundleDescription as BundleDescription
from m3l_core.bundle_description import GraphFile as GraphFile
from m3l_core.errors import BundleError, M3LError
from m3l_core.files import copy_folder, finish_folder, home_expanded, replacing_folder
from m3l_core.metrics import subset_key, subsets
from m3l_core.validation import checked
from m3l_core.weights_file import check_weights
from m3l_core.yaml_files import read_yaml

DESCRIPTION_FILE = "model.yaml"
WEIGHTS_FILE = "weights.safetensors"
_IN_MEMORY = b"_ORT_MEM_ADDR_"
"""What ONNX Runtime and OpenVINO take, in place of a file's name, for an address in the process."""
_WRITTEN_BY: dict[GraphFile, str] = {
    "model.onnx": "training/export_onnx.py",
    "model.int8.onnx": "training/quantize.py",
}


class ModelBundle:
    """A description and where its weights lie."""

    def __init__(self, folder: Path, description: BundleDescription) -> None:
        self.folder = folder
        self.description = description

    @classmethod
    def load(cls, folder: str | Path) -> ModelBundle:
        """Read and check a bundle; the weights stay on disk until ``read_weights``.

        Raises:
            BundleError: something is missing, unknown, or does not fit together.
        """
        folder = _settled(folder)
        for name in (DESCRIPTION_FILE, WEIGHTS_FILE):
            if not (folder / name).is_file():
                raise BundleError(
                    f"{folder} is not a model bundle: it has no {name}. Expected a folder with {DESCRIPTION_FILE} "
                    f"and {WEIGHTS_FILE}, as training/train.py writes it"
                )
        try:
            description = checked(BundleDescription, read_yaml(folder / DESCRIPTION_FILE, aliases=False))
        except (OSError, yaml.YAMLError, ValueError) as error:
            raise BundleError(f"{folder / DESCRIPTION_FILE} cannot be used: {error}") from error
        found = _sha256_of(folder / WEIGHTS_FILE)
        if found != description.weights_sha256:
            raise BundleError(
                f"{folder / WEIGHTS_FILE} is not the file that {DESCRIPTION_FILE} describes "
                f"(sha256 {found[:12]}..., expected {description.weights_sha256[:12]}...): copy the bundle again"
            )
        bundle = cls(folder, description)
        bundle.shapes()
        return bundle

    def alone(self) -> ModelBundle:
        """The network of all sensors without those of subsets."""
        return ModelBundle(self.folder, self.description.model_copy(update={"subset_networks": {}}))

    def networks(self) -> list[ModelBundle]:
        """Each network alone, that of all sensors first.

        Raises:
            BundleError: that of a subset is missing, damaged, or not for this bundle.
        """
        return [self.alone(), *self.subset_bundles().values()]

    def streams_of(self, network: ModelBundle) -> tuple[int, ...]:
        """The places that the modalities of a subset's network have among this bundle's."""
        return tuple(map(self.description.modality_names.index, network.description.modality_names))

    def runs_with(self, network: ModelBundle) -> list[tuple[str, ...]]:
        """The subsets of the modalities with which one of this bundle's networks runs."""
        names = network.description.modality_names
        if names != self.description.modality_names:
            return [names]
        return [chosen for chosen in subsets(names) if subset_key(chosen) not in self.description.subset_networks]

    def subset_bundles(self) -> dict[str, ModelBundle]:
        """The bundles of the subset networks, by subset.

        Raises:
            BundleError: one is missing, damaged, or not for this bundle's modalities, classes and input.
        """
        return {key: self._subset_bundle(key, sha256) for key, sha256 in self.description.subset_networks.items()}

    def _subset_bundle(self, key: str, weights_sha256: str) -> ModelBundle:
        bundle = ModelBundle.load(self.folder / key)
        ours, theirs = self.description, bundle.description
        modalities = tuple(modality for modality in ours.modalities if modality.name in theirs.modality_names)
        expected = (weights_sha256, key, modalities, ours.labels, ours.input_size)
        found = (
            theirs.weights_sha256,
            subset_key(theirs.modality_names),
            theirs.modalities,
            theirs.labels,
            theirs.input_size,
        )
        if found != expected:
            raise BundleError(
                f"{bundle.folder} is not the network for {key} that {self.folder / DESCRIPTION_FILE} names (weights, "
                "modalities, labels or input size differ): copy the bundle again"
            )
        return bundle

    def read_weights(self) -> dict[str, NDArray[np.float32]]:
        """Every tensor by its name, as float32.

        Raises:
            BundleError: the file is not a safetensors file, or a weight is no number.
        """
        try:
            tensors = load_file(self.folder / WEIGHTS_FILE)
        except (SafetensorError, OSError) as error:
            raise BundleError(f"{self.folder / WEIGHTS_FILE} cannot be read: {error}") from error
        for name, tensor in tensors.items():
            if not np.isfinite(tensor).all():
                raise BundleError(f"{self.folder / WEIGHTS_FILE}: {name} is not finite: copy the bundle again")
        return {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()}

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of every tensor; none is read.

        Raises:
            BundleError: the file is not a safetensors file.
        """
        try:
            return check_weights(self.folder / WEIGHTS_FILE)
        except (OSError, ValueError) as error:
            raise BundleError(f"{self.folder / WEIGHTS_FILE} cannot be used: {error}") from error

    def graph(self, name: GraphFile = "model.onnx") -> Path:
        """The file of an exported graph.

        Raises:
            BundleError: it was not exported, or the file is not the one that was exported from these weights, or it
                names no file as the place of its weights.
        """
        path = self.folder / name
        expected = self.description.graphs.get(name)
        if expected is None or not path.is_file():
            raise BundleError(f"{self.folder} has no {name}: write it with {_WRITTEN_BY[name]} {self.folder}")
        made_from, weights = self.description.graphs_of_weights, self.description.weights_sha256
        if made_from not in ("", weights):
            raise BundleError(
                f"{path} was exported from other weights (sha256 {made_from[:12]}..., here {weights[:12]}...): "
                f"write it again with {_WRITTEN_BY[name]} {self.folder}"
            )
        found = _sha256_of(path)
        if found != expected:
            raise BundleError(
                f"{path} is not the file that {DESCRIPTION_FILE} describes (sha256 {found[:12]}..., expected "
                f"{expected[:12]}...): write it again with {_WRITTEN_BY[name]} {self.folder}, or copy the bundle again"
            )
        if _IN_MEMORY in path.read_bytes():
            raise BundleError(f"{path} names an address in memory as the place of its weights: copy the bundle again")
        return path

    def add_graph(self, content: bytes, name: GraphFile = "model.onnx") -> ModelBundle:
        """Write an exported graph into the folder, with its description or not at all.

        Returns:
            The bundle with it, and with the graphs of these weights that another process wrote meanwhile.

        Raises:
            BundleError: the folder, or the one around it, cannot be written, or is no bundle any more.
        """
        try:
            return self._add_graph(content, name)
        except OSError as error:
            why = error.args[0][0][2] if isinstance(error, shutil.Error) else error  # of a list of files, the first
            raise BundleError(f"{name} cannot be written to {self.folder}: {why}") from error

    def _add_graph(self, content: bytes, name: GraphFile) -> ModelBundle:
        with replacing_folder(self.folder) as temporary:
            now = ModelBundle.load(self.folder).description
            if now.weights_sha256 != self.description.weights_sha256:
                raise BundleError(f"{self.folder} has other weights than when this began: export again")
            kept = now.graphs if now.graphs_of_weights in ("", now.weights_sha256) else {}
            graphs = {**kept, name: hashlib.sha256(content).hexdigest()}
            update = {"graphs": graphs, "graphs_of_weights": now.weights_sha256}
            description = now.model_copy(update=update)
            copy_folder(self.folder, temporary)
            (temporary / name).write_bytes(content)
            _write_description(temporary / DESCRIPTION_FILE, description)
        return ModelBundle(self.folder, description)

    @contextmanager
    def with_trial_graph(self, content: bytes, name: GraphFile = "model.onnx") -> Iterator[ModelBundle]:
        """A copy of the bundle with a graph, to try it on; gone after the block."""
        with tempfile.TemporaryDirectory() as folder:
            trial = Path(folder) / "bundle"
            copy_folder(self.folder, trial)
            yield ModelBundle(trial, self.description).add_graph(content, name)


def save_bundle(
    folder: Path,
    description: BundleDescription,
    weights: Mapping[str, NDArray[Any]],
    card: str,
) -> ModelBundle:
    """Write a bundle with float16 weights and its model card (README.md), whole or not at all.

    Raises:
        BundleError: a weight is not finite in float16.
    """
    tensors = {name: np.ascontiguousarray(value, np.float16) for name, value in weights.items()}
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise BundleError(f"weight '{name}' is not finite in float16; the training has diverged")
    with replacing_folder(folder) as temporary:
        save_file(tensors, temporary / WEIGHTS_FILE)
        description = description.model_copy(update={"weights_sha256": _sha256(temporary / WEIGHTS_FILE)})
        _write_description(temporary / DESCRIPTION_FILE, description)
        (temporary / "README.md").write_text(card, encoding="utf-8")
        for file in temporary.iterdir():
            file.chmod(0o644)  # safetensors writes for the owner alone
    return ModelBundle(folder, description)


def join_bundles(folder: Path, full: ModelBundle, subsets: Mapping[str, ModelBundle], card: str) -> ModelBundle:
    """Write a bundle of a network of all sensors and of networks for subsets of them, each as it lies on disk.

    Args:
        folder: where to, whole or not at all.
        full: the network of all sensors; what it reached with a subset that has a network is replaced.
        subsets: by subset, such as ``color``.
        card: of the whole; each network keeps its own in its folder.
    """
    described = full.description
    miou = described.miou | {key: each.description.miou[key] for key, each in subsets.items()}
    networks = {key: each.description.weights_sha256 for key, each in subsets.items()}
    description = described.model_copy(update={"miou": miou, "subset_networks": networks})
    with replacing_folder(folder) as temporary:
        copy_folder(full.folder, temporary)
        for key, each in subsets.items():
            copy_folder(each.folder, temporary / key)
        _write_description(temporary / DESCRIPTION_FILE, description)
        (temporary / "README.md").write_text(card, encoding="utf-8")
    return ModelBundle.load(folder)


def _write_description(path: Path, description: BundleDescription) -> None:
    text = yaml.safe_dump(description.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")


def _settled(folder: str | Path) -> Path:
    """The path of a bundle, in its place even if a process was killed while it put it there."""
    try:
        path = home_expanded(folder)
        if not path.exists():
            finish_folder(path)
        return path
    except (M3LError, OSError, ValueError) as error:
        raise BundleError(f"{str(folder)[:200]} is not a model bundle: {error}") from error


def _sha256_of(path: Path) -> str:
    """The same; a BundleError says that the file cannot be read."""
    try:
        return _sha256(path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error}") from error


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
