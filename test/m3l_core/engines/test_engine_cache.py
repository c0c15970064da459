"""No engine is loaded but the one that was built, from these weights, for this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3l_core.bundle import ModelBundle
from m3l_core.engines import engine_cache
from m3l_core.engines.cuda_device import CudaDevice
from m3l_core.engines.engine_cache import EngineFacts, StoredEngine, engine_folder, find, graph_digests, read, store
from m3l_core.engines.label_sizes import LabelSizes
from m3l_core.errors import BundleError, EngineError

ORIN = CudaDevice("Orin", (8, 7), "12.6")
BIGGER = CudaDevice("NVIDIA GeForce RTX 4090", (8, 9), "13.0")
OLD = CudaDevice("Xavier", (7, 2), "12.2")
TENSORRT = "10.3.0"
CONTENT = bytes(range(256)) * 4


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("M3L_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> ModelBundle:
    (tmp_path / "bundle").mkdir()
    for file in tiny_bundle.iterdir():
        (tmp_path / "bundle" / file.name).write_bytes(file.read_bytes())
    return ModelBundle.load(tmp_path / "bundle").add_graph(b"the graph")


def facts(bundle: ModelBundle, **changed: Any) -> EngineFacts:
    graph, weights = graph_digests(bundle, "fp16")
    stated = {
        "graph_sha256": graph,
        "weights_sha256": weights,
        "precision": "fp16",
        "label_sizes": LabelSizes.up_to((720, 1280), (64, 96)),
        "tensorrt": TENSORRT,
        "gpu": ORIN.name,
        "compute_capability": ORIN.compute_capability,
    }
    return EngineFacts(**(stated | changed))


def stored(bundle: ModelBundle, **changed: Any) -> StoredEngine:
    engine = StoredEngine(facts(bundle, **changed), CONTENT, "built in 3 s")
    store(engine)
    return engine


def test_what_was_stored_is_read_and_found(bundle: ModelBundle, cache: Path) -> None:
    engine = stored(bundle)
    assert read(engine.facts.key) == engine
    assert find(bundle, "fp16", TENSORRT, ORIN) == engine
    assert [path.name for path in cache.iterdir()] == [engine.facts.key]


digests = st.binary(max_size=4).map(lambda content: hashlib.sha256(content).hexdigest())
sides = st.integers(1, 2000)
facts_strategy = st.builds(
    EngineFacts,
    graph_sha256=digests,
    weights_sha256=digests,
    precision=st.sampled_from(["fp32", "fp16", "bf16", "int8"]),
    label_sizes=st.tuples(sides, sides).map(LabelSizes.only),
    tensorrt=st.sampled_from(["10.3.0", "10.3.0.1", "11.4.0.106"]),
    gpu=st.text(max_size=5),
    compute_capability=st.tuples(st.integers(5, 12), st.integers(0, 9)),
    workspace_bytes=st.none() | st.integers(1, 2**40),
    version_compatible=st.booleans(),
    hardware_compatible=st.booleans(),
)


@given(facts_strategy, facts_strategy, st.sampled_from(sorted(EngineFacts.model_fields)))
def test_any_changed_fact_changes_the_key(one: EngineFacts, other: EngineFacts, field: str) -> None:
    changed = one.model_copy(update={field: getattr(other, field)})
    assert (changed.key == one.key) == (changed == one)
    assert (one.key == other.key) == (one == other)


def broken(path: Path, edit: Callable[[bytes], bytes]) -> None:
    former = path.read_bytes()
    path.write_bytes(edit(former))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(place=st.integers(0, len(CONTENT) - 1), bit=st.integers(0, 7))
def test_an_engine_with_a_flipped_bit_is_refused(bundle: ModelBundle, place: int, bit: int) -> None:
    engine = stored(bundle)
    path = engine_folder() / engine.facts.key / "engine.plan"
    broken(path, lambda content: content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
    with pytest.raises(EngineError, match="is damaged"):
        read(engine.facts.key)
    with pytest.raises(EngineError, match=r"m3l_build_engine .*Refused: .*engine\.plan is damaged"):
        find(bundle, "fp16", TENSORRT, ORIN)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(length=st.integers(0, len(CONTENT) - 1))
def test_a_truncated_engine_is_refused(bundle: ModelBundle, length: int) -> None:
    engine = stored(bundle)
    broken(engine_folder() / engine.facts.key / "engine.plan", lambda content: content[:length])
    with pytest.raises(EngineError, match="is damaged"):
        find(bundle, "fp16", TENSORRT, ORIN)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
@given(data=st.data())
def test_a_damaged_sidecar_never_makes_another_engine_of_it(bundle: ModelBundle, data: st.DataObject) -> None:
    engine = stored(bundle)
    path = engine_folder() / engine.facts.key / "engine.json"
    length = path.stat().st_size
    place, byte = data.draw(st.integers(0, length - 1)), data.draw(st.integers(0, 255))
    broken(path, lambda content: content[:place] + bytes([byte]) + content[place + 1 :])
    try:
        found = find(bundle, "fp16", TENSORRT, ORIN)
    except EngineError:
        return
    assert (found.facts, found.content) == (engine.facts, engine.content)  # the report alone may differ


def test_an_engine_in_the_folder_of_another_is_refused(bundle: ModelBundle, cache: Path) -> None:
    engine = stored(bundle, gpu=BIGGER.name, compute_capability=BIGGER.compute_capability)
    os.rename(cache / engine.facts.key, cache / facts(bundle).key)
    with pytest.raises(EngineError, match="describes another engine than that of its folder"):
        find(bundle, "fp16", TENSORRT, ORIN)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"tensorrt": "10.2.0"}, r"Refused: .*built by TensorRT 10\.2\.0, this is 10\.3\.0"),
        ({"tensorrt": "10.3.0.1"}, r"built by TensorRT 10\.3\.0\.1"),
        ({"tensorrt": "10.4.0", "version_compatible": True}, r"built by TensorRT 10\.4\.0"),
        ({"tensorrt": "9.3.0", "version_compatible": True}, r"built by TensorRT 9\.3\.0"),
        ({"gpu": "NVIDIA Thor"}, "built for NVIDIA Thor, this is Orin"),
        ({"compute_capability": (8, 6)}, "built for Orin"),
        ({"version_compatible": True, "gpu": BIGGER.name}, "built for NVIDIA GeForce RTX 4090"),
    ],
)
def test_an_engine_for_another_machine_is_refused_with_the_reason(
    bundle: ModelBundle, changed: dict[str, Any], reason: str
) -> None:
    stored(bundle, **changed)
    with pytest.raises(EngineError, match=reason):
        find(bundle, "fp16", TENSORRT, ORIN)


def test_an_engine_of_another_network_or_precision_does_not_count(bundle: ModelBundle) -> None:
    for changed in ({"graph_sha256": "0" * 64}, {"weights_sha256": "0" * 64}, {"precision": "bf16"}):
        stored(bundle, **changed)
    with pytest.raises(EngineError, match=r"no fp16 engine of this bundle is built .* --precision fp16$"):
        find(bundle, "fp16", TENSORRT, ORIN)


def test_a_compatible_engine_runs_where_nvidia_says_it_does(bundle: ModelBundle) -> None:
    engine = stored(bundle, version_compatible=True, hardware_compatible=True)
    ampere = CudaDevice("NVIDIA A100", (8, 0), "13.0")  # the first that counts
    later = (("10.3.0.post1", ORIN), ("10.16.1.11", BIGGER))
    for tensorrt, device in (("10.3.0", ORIN), ("10.3.0", ampere), ("10.3.0", BIGGER), *later):
        assert find(bundle, "fp16", tensorrt, device) == engine
    for tensorrt, device in (("10.2.0", ORIN), ("11.0.0.114", ORIN), ("10.3.0", OLD)):
        with pytest.raises(EngineError, match="Refused"):
            find(bundle, "fp16", tensorrt, device)


def test_the_newest_of_several_is_taken(bundle: ModelBundle, cache: Path) -> None:
    older, newer = stored(bundle), stored(bundle, label_sizes=LabelSizes.only((480, 640)))
    for age, engine in enumerate((newer, older)):
        os.utime(cache / engine.facts.key, (1e9 - age, 1e9 - age))
    assert find(bundle, "fp16", TENSORRT, ORIN) == newer


def test_what_does_not_run_here_hides_no_older_one(bundle: ModelBundle, cache: Path) -> None:
    ours = stored(bundle)
    newer = [
        stored(bundle, workspace_bytes=1),
        stored(bundle, graph_sha256="0" * 64),
        stored(bundle, tensorrt="10.2.0"),
    ]
    (cache / newer[0].facts.key / "engine.plan").write_bytes(b"torn")
    os.utime(cache / ours.facts.key, (1e9, 1e9))
    assert find(bundle, "fp16", TENSORRT, ORIN) == ours


@pytest.mark.parametrize("lost", ["", "engine.json", "engine.plan"])
def test_an_engine_that_is_not_there_or_in_part_is_told(bundle: ModelBundle, cache: Path, lost: str) -> None:
    key = stored(bundle).facts.key
    for file in [cache / key / lost] if lost else (cache / key).iterdir():
        file.unlink()
    with pytest.raises(EngineError, match=rf"{key}/{lost or 'engine.json'} cannot be read: .*No such file"):
        read(key)


class Killed(BaseException):
    pass


def test_a_store_killed_half_way_leaves_nothing_that_loads(
    bundle: ModelBundle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: Any, **keywords: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(engine_cache._Sidecar, "model_dump_json", killed)
        stored(bundle)
    with pytest.raises(EngineError, match="no fp16 engine"):
        find(bundle, "fp16", TENSORRT, ORIN)
    # Not even what a power failure leaves, where nothing is tidied up.
    left = cache / f".{facts(bundle).key}.abc"
    left.mkdir(parents=True)
    (left / "engine.plan").write_bytes(CONTENT)
    (left / "engine.json").write_text("{}")
    with pytest.raises(EngineError, match=r"--precision fp16$"):
        find(bundle, "fp16", TENSORRT, ORIN)


def test_a_former_engine_outlives_a_store_that_fails(bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    former = stored(bundle)

    def full(path: Path, *arguments: Any, **keywords: Any) -> int:
        raise OSError(28, "No space left on device")

    with (
        monkeypatch.context() as patch,
        pytest.raises(EngineError, match=r"cannot be stored in .*No space left.*M3L_CACHE"),
    ):
        patch.setattr(Path, "write_text", full)
        store(StoredEngine(former.facts, b"newer", ""))
    assert read(former.facts.key) == former


def test_a_bundle_without_a_graph_says_how_to_export_it(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"has no model\.onnx: write it with training/export_onnx\.py"):
        find(ModelBundle.load(tiny_bundle), "fp16", TENSORRT, ORIN)
