"""The TensorRT engine: its work around the library on a pretended GPU, and all of it where there is a real one."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support import fake_gpu

from m3l_core.bundle import ModelBundle
from m3l_core.engines import tensorrt_engine
from m3l_core.engines.build_engine import build_into_cache
from m3l_core.engines.cuda_device import cuda_device
from m3l_core.engines.engine import Engine, load_engine
from m3l_core.engines.engine_cache import StoredEngine, engine_folder, store
from m3l_core.engines.label_sizes import LabelSizes
from m3l_core.engines.tensorrt_builder import BuildOptions
from m3l_core.engines.tensorrt_engine import TensorRtEngine, check_tensors
from m3l_core.errors import EngineError, MissingPackageError
from m3l_core.frames import ModelInput

pytestmark = [pytest.mark.needs("onnxruntime"), pytest.mark.usefixtures("one_thread")]
UP_TO = BuildOptions(LabelSizes.up_to((200, 240), (64, 96)))
SUBSETS = ([True, True], [True, False], [False, True])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("M3L_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bundle(exported_bundle: Path) -> ModelBundle:
    return ModelBundle.load(exported_bundle)


@pytest.fixture(params=["pycuda and cuda-bindings", "cuda-bindings"])
def gpu(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[fake_gpu.FakeGpu]:
    """With pycuda there, and without."""
    with fake_gpu.all_freed(fake_gpu.install(monkeypatch, *request.param.split(" and "))) as gpu:
        yield gpu


def frame(present: list[bool], seed: int = 0) -> ModelInput:
    images = np.random.default_rng(seed).normal(size=(1, 2, 3, 64, 96)).astype(np.float32)
    return ModelInput(images, np.array([present]))


def reference(bundle: ModelBundle) -> Engine:
    return load_engine(bundle, "onnxruntime", "fp32", num_threads=1)


@pytest.mark.parametrize("present", SUBSETS)
@pytest.mark.parametrize("options", [UP_TO, BuildOptions(LabelSizes.only((48, 64)))])
def test_every_subset_is_labelled_as_by_the_graph(
    bundle: ModelBundle, gpu: fake_gpu.FakeGpu, present: list[bool], options: BuildOptions
) -> None:
    build_into_cache(bundle, "fp32", options)
    engine = load_engine(bundle, "tensorrt", "fp32")
    assert (engine.name, engine.precision, engine.device) == ("tensorrt", "fp32", "Pretended")
    for seed in (0, 1):
        given = frame(present, seed)
        found, expected = (one.infer(given, (48, 64)) for one in (engine, reference(bundle)))
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(found.confidence, expected.confidence)
    assert len(np.unique(expected.labels)) > 1


def test_sizes_may_change_from_frame_to_frame(bundle: ModelBundle, gpu: fake_gpu.FakeGpu) -> None:
    build_into_cache(bundle, "fp32", UP_TO)
    engine = load_engine(bundle, "tensorrt", "fp32")
    given = frame([True, True])
    for size in ((64, 96), (200, 240), (33, 51), (64, 96)):
        found, expected = (one.infer(given, size) for one in (engine, reference(bundle)))
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(found.confidence, expected.confidence)


@pytest.mark.parametrize("size", [(400, 480), (10, 12), (400, 12)])
def test_a_size_beyond_those_built_is_made_from_the_nearest(
    bundle: ModelBundle, gpu: fake_gpu.FakeGpu, size: tuple[int, int]
) -> None:
    build_into_cache(bundle, "fp32", UP_TO)
    found, expected = (one.infer(frame([True, True]), size) for one in (tensorrt(bundle), reference(bundle)))
    assert found.labels.shape == found.confidence.shape == size
    assert found.labels.dtype == found.confidence.dtype == np.uint8
    assert (found.labels == expected.labels).mean() > 0.6  # noise, labelled by noise
    assert set(np.unique(found.labels)) <= set(range(4))


def tensorrt(bundle: ModelBundle) -> Engine:
    return load_engine(bundle, "tensorrt", "fp32")


def test_what_one_frame_gave_stays_when_the_next_comes(bundle: ModelBundle, gpu: fake_gpu.FakeGpu) -> None:
    build_into_cache(bundle, "fp32", UP_TO)
    engine = tensorrt(bundle)
    first = engine.infer(frame([True, True], 0), (64, 96))
    former = first.labels.copy()
    engine.infer(frame([True, True], 1), (64, 96))
    np.testing.assert_array_equal(first.labels, former)


def test_frames_of_one_size_are_replayed_from_one_capture(bundle: ModelBundle, gpu: fake_gpu.FakeGpu) -> None:
    build_into_cache(bundle, "fp32", UP_TO)
    engine = tensorrt(bundle)
    for _ in range(3):
        engine.infer(frame([True, True]), (64, 96))
    assert (gpu.enqueued, gpu.launched) == (2, 3)  # one to warm up, one to capture
    engine.infer(frame([True, True]), (48, 64))
    assert (gpu.enqueued, gpu.launched) == (4, 4)


def test_an_engine_that_cannot_be_captured_is_enqueued(bundle: ModelBundle, gpu: fake_gpu.FakeGpu) -> None:
    gpu.capture_status = 901
    build_into_cache(bundle, "fp32", UP_TO)
    engine, given = tensorrt(bundle), frame([True, True])
    for _ in range(3):
        found = engine.infer(given, (64, 96))
    assert gpu.launched == 0
    np.testing.assert_array_equal(found.labels, reference(bundle).infer(given, (64, 96)).labels)


def test_beside_pycuda_no_cuda_bindings_are_needed(bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = fake_gpu.install(monkeypatch, "pycuda")
    build_into_cache(bundle, "fp32", UP_TO)
    engine = tensorrt(bundle)
    engine.infer(frame([True, True]), (64, 96))
    assert (gpu.enqueued, gpu.launched) == (2, 0)
    del engine
    gc.collect()


def test_any_thread_may_call_and_drop_the_engine(bundle: ModelBundle, gpu: fake_gpu.FakeGpu) -> None:
    build_into_cache(bundle, "fp32", UP_TO)
    engines, found = [tensorrt(bundle)], []

    def work() -> None:
        found.append(engines[0].infer(frame([True, True]), (64, 96)))
        engines.clear()
        gc.collect()
        found.append(getattr(gpu.contexts, "depth", 0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0].labels.shape == (64, 96)
    assert found[1:] == [0]  # pycuda aborts the process otherwise


def test_what_fails_on_the_gpu_is_an_engine_error_and_leaves_no_context(
    bundle: ModelBundle, gpu: fake_gpu.FakeGpu
) -> None:
    build_into_cache(bundle, "fp32", UP_TO)
    engine = tensorrt(bundle)
    gpu.copy_error = "an illegal memory access was encountered"
    with pytest.raises(EngineError, match=r"the GPU fails: .*illegal memory access"):
        engine.infer(frame([True, True]), (64, 96))
    gpu.copy_error = None
    assert gpu.contexts.depth == 0
    assert engine.infer(frame([True, True]), (64, 96)).labels.shape == (64, 96)


def test_an_input_of_another_shape_is_refused(bundle: ModelBundle, gpu: fake_gpu.FakeGpu) -> None:
    build_into_cache(bundle, "fp32", UP_TO)
    wrong = ModelInput(np.zeros((1, 2, 3, 32, 96), np.float32), np.ones((1, 2), np.bool_))
    with pytest.raises(EngineError, match="expected images of shape"):
        tensorrt(bundle).infer(wrong, (64, 96))


def test_without_a_built_engine_the_command_is_named(bundle: ModelBundle, gpu: fake_gpu.FakeGpu) -> None:
    with pytest.raises(EngineError, match=rf"m3l_build_engine {bundle.folder} --precision fp16"):
        load_engine(bundle, "tensorrt")


def test_an_engine_that_the_library_refuses_is_to_be_built_again(bundle: ModelBundle, gpu: fake_gpu.FakeGpu) -> None:
    built = build_into_cache(bundle, "fp32", UP_TO)
    store(StoredEngine(built.facts, b"no engine", ""))
    with pytest.raises(
        EngineError, match="cannot load the engine; build it with m3l_build_engine --force: the engine is"
    ):
        tensorrt(bundle)


def test_an_engine_for_other_shapes_is_refused(bundle: ModelBundle, gpu: fake_gpu.FakeGpu) -> None:
    built = build_into_cache(bundle, "fp32", UP_TO)
    other = bundle.description.model_copy(update={"input_height": 128})
    with pytest.raises(EngineError, match=r"built for other shapes: .*128.*m3l_build_engine --force"):
        TensorRtEngine(built, other, fake_gpu.DEVICE)


@pytest.mark.parametrize("missing", ["images", "present", "size", "labels", "confidence"])
def test_an_engine_without_one_of_the_tensors_is_refused(bundle: ModelBundle, missing: str) -> None:
    shapes = {"images": (1, 2, 3, 64, 96), "present": (1, 2), "size": (2,), "labels": (-1, -1), "confidence": (-1, -1)}
    check_tensors(shapes, UP_TO.label_sizes, bundle.description)
    del shapes[missing]
    with pytest.raises(EngineError, match="other shapes"):
        check_tensors(shapes, UP_TO.label_sizes, bundle.description)


def test_an_unknown_precision_is_refused(bundle: ModelBundle) -> None:
    with pytest.raises(EngineError, match="tensorrt engine has no precision 'fp8', expected auto, fp32, fp16"):
        load_engine(bundle, "tensorrt", "fp8")


# What follows runs where there is a GPU.


def skip_without_a_gpu_and(*packages: str) -> None:
    try:
        cuda_device()
        for package in packages:
            tensorrt_engine.require(package, "tensorrt")
    except (EngineError, MissingPackageError) as error:
        pytest.skip(f"needs an NVIDIA GPU with {' and '.join(packages)}: {error}")
    fake_gpu.forget_the_last_gpu()


@pytest.fixture(params=["pycuda.driver", "cuda.bindings.driver"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What reaches CUDA, each where it is installed."""
    skip_without_a_gpu_and(request.param)
    if request.param != "pycuda.driver":
        monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    return str(request.param)


@pytest.fixture
def real_gpu(library: str) -> None:
    skip_without_a_gpu_and("tensorrt")


def test_on_a_gpu_all_but_tensorrt_itself_works(
    bundle: ModelBundle, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory, copies, streams, graphs and contexts of the GPU, where TensorRT cannot be had."""
    skip_without_a_gpu_and("cuda.bindings.driver")
    from support import torch_gpu

    gpu = torch_gpu.install(monkeypatch, bundle)
    build_into_cache(bundle, "fp32", UP_TO)
    engine, torch_engine = tensorrt(bundle), load_engine(bundle, "torch", "fp32")
    for size in ((64, 96), (200, 240), (33, 51)):
        for seed, present in enumerate(SUBSETS):
            given = frame(present, seed)
            found, expected = (one.infer(given, size) for one in (engine, torch_engine))
            assert (found.labels == expected.labels).mean() > 0.999
            assert np.abs(found.confidence.astype(int) - expected.confidence).max() <= 1
    assert gpu.enqueued == 3 * 2  # each size once to warm up and once to capture: frames replayed the graph
    share_a_process(tensorrt(bundle))
    del engine
    gc.collect()


@pytest.mark.usefixtures("real_gpu")
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.999), ("fp16", 0.98), ("bf16", 0.9)])
@pytest.mark.parametrize("sizes", [UP_TO.label_sizes, LabelSizes.only((64, 96))], ids=str)
def test_on_a_gpu_every_subset_is_labelled_as_by_torch(
    bundle: ModelBundle, precision: str, least: float, sizes: LabelSizes
) -> None:
    build_into_cache(bundle, precision, BuildOptions(sizes))
    engine, torch_engine = load_engine(bundle, "tensorrt", precision), load_engine(bundle, "torch", "fp32")
    for present in SUBSETS:
        given = frame(present)
        for size in ((64, 96), (120, 160)):
            found, expected = (one.infer(given, size).labels for one in (engine, torch_engine))
            agreement = (found == expected).mean()
            assert agreement > (least if sizes.nearest(size) == size else 0.7), (present, size)


@pytest.mark.usefixtures("real_gpu")
@pytest.mark.timeout(1200)
def test_on_a_gpu_torch_and_the_engine_share_a_process(bundle: ModelBundle) -> None:
    build_into_cache(bundle, "fp16", UP_TO)
    share_a_process(load_engine(bundle, "tensorrt", "fp16"))


def share_a_process(engine: Engine) -> None:
    """Torch computes on one thread while the engine labels on another, and still can when the engine is gone."""
    import torch

    engines = [engine]
    del engine
    given = frame([True, True])
    expected = engines[0].infer(given, (64, 96)).labels
    wrong: list[str] = []

    def infer() -> None:
        for _ in range(100):
            if not np.array_equal(engines[0].infer(given, (64, 96)).labels, expected):
                wrong.append("labels")

    def compute() -> None:
        for number in range(1, 101):
            if torch.ones(number, number, device="cuda").sum().item() != number * number:
                wrong.append("sum")

    threads = [threading.Thread(target=infer)]
    if torch.cuda.is_available():
        threads.append(threading.Thread(target=compute))
        compute()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    engines.clear()
    gc.collect()
    if torch.cuda.is_available():
        compute()
    assert not wrong


@pytest.mark.usefixtures("real_gpu")
@pytest.mark.timeout(1200)
def test_on_a_gpu_a_truncated_engine_is_refused(bundle: ModelBundle) -> None:
    built = build_into_cache(bundle, "fp16", UP_TO)
    path = engine_folder() / built.facts.key / "engine.plan"
    path.write_bytes(built.content[: len(built.content) // 2])
    with pytest.raises(EngineError, match="is damaged"):
        load_engine(bundle, "tensorrt", "fp16")
    store(StoredEngine(built.facts, built.content[: len(built.content) // 2], ""))
    with pytest.raises(EngineError, match="cannot load the engine"):
        load_engine(bundle, "tensorrt", "fp16")
