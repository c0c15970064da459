"""A bundle comes back as it was written, or is refused with a reason."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from safetensors.numpy import load_file, save_file
from support.bundles import BREAKAGES, write_broken_bundle

from m3l_core.bundle import (
    DESCRIPTION_FILE,
    WEIGHTS_FILE,
    BundleDescription,
    ModelBundle,
    save_bundle,
)
from m3l_core.errors import BundleError
from m3l_core.shipped import shipped_bundle

DESCRIPTION: dict[str, Any] = {
    "name": "small",
    "network": {"num_classes": 2, "num_modalities": 2},
    "labels": {"classes": [{"name": "floor", "color": [1, 2, 3]}, {"name": "wall", "color": [4, 5, 6]}]},
    "modalities": [{"kind": "color"}, {"kind": "depth", "far_m": 5.0}],
    "input_height": 64,
    "input_width": 96,
    "training": {"command": "train.py", "seed": 3},
    "miou": {"color+depth": 0.5, "color": 0.25, "depth": 0.125},
}
WEIGHTS = {"a.weight": np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4), "b.bias": np.ones(5, np.float32)}


def description(**changes: Any) -> BundleDescription:
    return BundleDescription.model_validate(DESCRIPTION | changes)


@pytest.fixture
def bundle(tmp_path: Path) -> ModelBundle:
    return save_bundle(tmp_path / "bundle", description(), WEIGHTS, "# a card\n")


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rewrite(bundle: ModelBundle, **changes: Any) -> None:
    file = bundle.folder / DESCRIPTION_FILE
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))


def test_a_bundle_comes_back_as_it_was_written(bundle: ModelBundle) -> None:
    loaded = ModelBundle.load(bundle.folder)
    assert loaded.description == bundle.description
    assert loaded.description == description(weights_sha256=loaded.description.weights_sha256)
    assert loaded.description.input_size == (64, 96)
    assert loaded.description.modality_names == ("color", "depth")
    weights = loaded.read_weights()
    assert weights.keys() == WEIGHTS.keys()
    for name, value in weights.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, WEIGHTS[name].astype(np.float16).astype(np.float32))


def test_the_folder_holds_half_precision_weights_and_the_card_readable_by_everyone(bundle: ModelBundle) -> None:
    assert {path.name for path in bundle.folder.iterdir()} == {DESCRIPTION_FILE, WEIGHTS_FILE, "README.md"}
    assert (bundle.folder / "README.md").read_text() == "# a card\n"
    assert {tensor.dtype for tensor in load_file(bundle.folder / WEIGHTS_FILE).values()} == {np.dtype(np.float16)}
    assert {path.stat().st_mode & 0o777 for path in bundle.folder.iterdir()} == {0o644}


def test_a_path_may_be_text_and_begin_at_home(bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(bundle.folder.parent))
    assert ModelBundle.load("~/bundle").description.name == "small"


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_bundle_is_refused_with_a_reason(tmp_path: Path, breakage: str) -> None:
    pytest.importorskip("torch", reason="needs torch: pip install 'm3l_ros[train]'")
    from m3l_core.engines.torch_engine import load_network

    folder = write_broken_bundle(tmp_path / "bundle", breakage)
    with pytest.raises(BundleError, match=BREAKAGES[breakage][1]):
        load_network(ModelBundle.load(folder))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "classes that the network lacks": ({"network": {"num_classes": 3}}, "3 classes, 2 are named"),
    "modalities that the network lacks": (
        {"network": {"num_classes": 2, "num_modalities": 1}},
        "takes 1 modalities, 2 are described",
    ),
    "two modalities of one name": ({"modalities": [{"kind": "color"}, {"kind": "depth", "name": "color"}]}, "differ"),
    "a kind that is unknown": ({"modalities": [{"kind": "color"}, {"kind": "sonar"}]}, "sonar"),
    "a mIoU of no subset": ({"miou": {"color+thermal": 0.5}}, r"color\+thermal"),
    "a mIoU in another order": ({"miou": {"depth+color": 0.5}}, "the subsets are"),
    "a format of the future": ({"format": 2}, "format"),
    "an encoder that is unknown": ({"network": {"num_classes": 2, "encoder": "mit_b9"}}, "mit_b9"),
    "an input that is too small": ({"input_width": 63}, "input_width"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_description_that_contradicts_itself_is_refused(bundle: ModelBundle, case: str) -> None:
    changes, reason = REFUSED[case]
    with pytest.raises(ValidationError, match=reason):
        description(**changes)
    rewrite(bundle, **changes)
    with pytest.raises(BundleError, match=rf"(?s)model\.yaml cannot be used: .*{reason}"):
        ModelBundle.load(bundle.folder)


def test_weights_of_another_bundle_are_refused(bundle: ModelBundle) -> None:
    save_file({"a.weight": np.zeros(3, np.float16)}, bundle.folder / WEIGHTS_FILE)
    with pytest.raises(BundleError, match=r"is not the file that model\.yaml describes.*copy the bundle again"):
        ModelBundle.load(bundle.folder)


@pytest.mark.parametrize("content", [b"", b"no tensors at all", b"\xff" * 64])
def test_weights_that_hold_no_tensors_are_refused_even_if_the_sum_is_right(bundle: ModelBundle, content: bytes) -> None:
    (bundle.folder / WEIGHTS_FILE).write_bytes(content)
    rewrite(bundle, weights_sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(BundleError, match=r"weights\.safetensors cannot be used: it is no safetensors file"):
        ModelBundle.load(bundle.folder)


def test_graphs_of_other_weights_are_refused(bundle: ModelBundle) -> None:
    exported = bundle.add_graph(b"a graph")
    assert ModelBundle.load(bundle.folder).graph().read_bytes() == b"a graph"
    assert exported.description.graphs_of_weights == exported.description.weights_sha256
    weights = {name: value + 1 for name, value in bundle.read_weights().items()}
    save_file({name: value.astype(np.float16) for name, value in weights.items()}, bundle.folder / WEIGHTS_FILE)
    rewrite(bundle, weights_sha256=hashlib.sha256((bundle.folder / WEIGHTS_FILE).read_bytes()).hexdigest())
    swapped = ModelBundle.load(bundle.folder)
    with pytest.raises(BundleError, match=r"model\.onnx was exported from other weights.*write it again"):
        swapped.graph()
    with pytest.raises(BundleError, match="has other weights than when this began"):
        bundle.add_graph(b"another")
    assert swapped.add_graph(b"a new one", "model.int8.onnx").description.graphs.keys() == {"model.int8.onnx"}


def test_a_graph_keeps_those_that_came_meanwhile(bundle: ModelBundle) -> None:
    bundle.add_graph(b"a graph")
    (bundle.folder / "notes.txt").write_text("by hand")
    both = bundle.add_graph(b"int8", "model.int8.onnx")
    assert (both.graph().read_bytes(), both.graph("model.int8.onnx").read_bytes()) == (b"a graph", b"int8")
    assert (bundle.folder / "notes.txt").read_text() == "by hand"
    assert [path.name for path in bundle.folder.parent.iterdir()].count(bundle.folder.name) == 1


@pytest.mark.parametrize("change", ["missing", "unknown", "another shape"])
def test_weights_that_are_not_those_of_the_network_are_refused(tiny_bundle: Path, tmp_path: Path, change: str) -> None:
    from m3l_core.engines.torch_engine import load_network

    whole = ModelBundle.load(tiny_bundle)
    weights: dict[str, Any] = whole.read_weights()
    name = "head.classify.weight"
    if change == "missing":
        del weights[name]
    elif change == "unknown":
        name = "head.classify.scale"
        weights[name] = np.ones(3)
    else:
        weights[name] = weights[name][:-1]
    broken = save_bundle(tmp_path / "broken", whole.description, weights, "")
    with pytest.raises(BundleError, match=rf"(?s)do not fit.*{name}"):
        load_network(ModelBundle.load(broken.folder))


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_a_diverged_training_leaves_the_former_bundle(bundle: ModelBundle, value: float) -> None:
    former = snapshot(bundle.folder)
    with pytest.raises(BundleError, match=r"'b\.bias' is not finite"):
        save_bundle(bundle.folder, description(), WEIGHTS | {"b.bias": np.array([1, value])}, "")
    assert snapshot(bundle.folder) == former


def test_a_save_that_is_interrupted_leaves_the_former_bundle(bundle: ModelBundle) -> None:
    former = snapshot(bundle.folder)
    with pytest.raises(UnicodeEncodeError):  # the card is written last
        save_bundle(bundle.folder, description(name="next"), WEIGHTS, "a broken character: \ud800")
    assert snapshot(bundle.folder) == former
    assert list(bundle.folder.parent.iterdir()) == [bundle.folder]


def test_a_new_bundle_takes_the_place_of_the_former(bundle: ModelBundle) -> None:
    save_bundle(bundle.folder, description(name="next"), {"c": np.zeros((2, 2))}, "# next\n")
    loaded = ModelBundle.load(bundle.folder)
    assert loaded.description.name == "next"
    assert list(loaded.read_weights()) == ["c"]


def test_a_bundle_may_be_moved(bundle: ModelBundle, tmp_path: Path) -> None:
    moved = Path(shutil.move(bundle.folder, tmp_path / "robot"))
    assert ModelBundle.load(moved).folder == moved


def test_the_shipped_bundle_is_small_whole_and_says_how_it_was_made_and_how_good_it_is() -> None:
    bundle = ModelBundle.load(shipped_bundle())
    assert sum(path.stat().st_size for path in bundle.folder.rglob("*")) < 25_000_000
    described = bundle.description
    assert list(bundle.subset_bundles()) == ["color", "depth"]
    assert set(described.miou) == {"color+depth", "color", "depth"}
    assert all(0 < value < 1 for value in described.miou.values())
    card = (bundle.folder / "README.md").read_text()
    assert described.training["command"] in card
    for value in described.miou.values():
        assert f"{value:.3f}" in card
    assert all(np.isfinite(value).all() for value in bundle.read_weights().values())


def test_the_shipped_weights_are_those_of_the_shipped_network() -> None:
    pytest.importorskip("torch", reason="needs torch: pip install 'm3l_ros[train]'")
    from m3l_core.engines.torch_engine import load_network

    assert not load_network(ModelBundle.load(shipped_bundle())).training


@pytest.mark.parametrize(
    "name", ["", " ", ".", "..", "../x", "a/b", "a\\b", "color+depth", "a\nb", "\u202eroloc", "n" * 61]
)
def test_a_modality_is_called_as_a_folder_can_be(name: str) -> None:
    with pytest.raises(ValidationError, match="can be the name of a folder"):
        description(modalities=[{"kind": "color"}, {"kind": "depth", "name": name}], miou={})


@pytest.mark.parametrize(
    "changes",
    [
        {"modalities": [{"kind": "color", "std": [0.2, 0.2, 0]}, {"kind": "depth"}]},
        {"modalities": [{"kind": "color", "std": [float("inf")] * 3}, {"kind": "depth"}]},
        {"modalities": [{"kind": "color", "mean": [float("nan")] * 3}, {"kind": "depth"}]},
        {"modalities": [{"kind": "color"}, {"kind": "depth", "far_m": float("inf")}]},
        {"temperatures": {"color": 1e-320}},
        {"temperatures": {"color": float("inf")}},
    ],
)
def test_numbers_that_would_make_nonsense_of_images_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        description(**changes)


def test_weights_that_are_no_numbers_are_refused(bundle: ModelBundle) -> None:
    save_file(WEIGHTS | {"b.bias": np.array([1, np.nan], np.float32)}, bundle.folder / WEIGHTS_FILE)
    with pytest.raises(BundleError, match=r"b\.bias is not finite"):
        bundle.read_weights()


def test_a_graph_whose_weights_lie_in_memory_is_refused(bundle: ModelBundle) -> None:
    graph = b"location */_ORT_MEM_ADDR_/* offset 140000000000000"
    with pytest.raises(BundleError, match="names an address in memory"):
        bundle.add_graph(graph).graph()


def test_a_file_that_cannot_be_read_is_told(bundle: ModelBundle) -> None:
    (bundle.folder / WEIGHTS_FILE).unlink()
    (bundle.folder / WEIGHTS_FILE).symlink_to("/proc/self/mem")
    with pytest.raises(BundleError, match="cannot be read"):
        ModelBundle.load(bundle.folder)


@pytest.mark.parametrize("target", ["/dev/zero", ".", "..", "gone"])
def test_what_has_no_end_is_not_copied(bundle: ModelBundle, target: str) -> None:
    (bundle.folder / "more").symlink_to(target)
    before = sorted(bundle.folder.iterdir())
    with pytest.raises(BundleError, match="more is no file or folder of its own: remove it"):
        bundle.add_graph(b"graph")
    assert sorted(bundle.folder.iterdir()) == before
