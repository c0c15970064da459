"""Which engine runs a bundle, what it refuses, and that a robot without torch can still import everything."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from support.bundles import write_onnx_bundle
from support.onnx_graph import tiny_graph
from support.rooms import write_rooms

from m3l_core.bundle import ModelBundle
from m3l_core.datasets.folder import read_image
from m3l_core.engines import engine as engine_module
from m3l_core.engines.engine import AUTO, ENGINES, Engine, load_engine
from m3l_core.errors import EngineError
from m3l_core.frames import Frame, FrameSet, ModelInput, Segmentation
from m3l_core.installation import install_command
from m3l_core.preprocessing import prepare

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).parents[3]
SIZE = (64, 96)
ON_CPU = ("torch", "onnxruntime", "openvino")
SUBSETS = ([True, True], [True, False], [False, True])


@pytest.fixture
def bundle(exported_bundle: Path) -> ModelBundle:
    return ModelBundle.load(exported_bundle)


@pytest.fixture(params=ON_CPU)
def name(request: pytest.FixtureRequest) -> str:
    """Every engine that runs on any machine."""
    return installed(request.param)


def installed(name: str) -> str:
    pytest.importorskip(name, reason=f"needs {name}: scripts/setup_env {name}")
    return name


@pytest.fixture
def model_input(bundle: ModelBundle, tmp_path: Path) -> ModelInput:
    folder = write_rooms(tmp_path / "rooms", train=1, validation=1)
    images = {
        "color": read_image(folder / "color/train_0.jpg", "color"),
        "depth": read_image(folder / "depth/train_0.png", "depth"),
    }
    frames = FrameSet("color", {name: Frame(name, 0, image) for name, image in images.items()})
    return prepare(frames, bundle.description.modalities, bundle.description.input_size)


def with_present(model_input: ModelInput, present: list[bool]) -> ModelInput:
    return ModelInput(model_input.images, np.array([present]))


def test_an_unknown_engine_names_those_there_are(bundle: ModelBundle) -> None:
    with pytest.raises(EngineError, match=r"unknown engine 'caffe', expected auto or one of .*torch"):
        load_engine(bundle, "caffe")


def test_an_unknown_precision_names_those_there_are(bundle: ModelBundle, name: str) -> None:
    with pytest.raises(EngineError, match=rf"{name} engine has no precision 'int3', expected auto, fp32, "):
        load_engine(bundle, name, "int3")


def test_auto_takes_the_fastest_and_says_what_it_compared(
    bundle: ModelBundle, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "m3l_core.engines.engine"):
        engine = load_engine(bundle)
    lines = [record for record in caplog.records if record.message.startswith("engine auto: ")]
    chosen = lines.pop()
    assert (chosen.levelno, len(lines)) == (logging.INFO, len(AUTO))
    assert chosen.message.startswith(f"engine auto: {engine.name} {engine.precision}, ")
    assert {line.levelno for line in lines} == {logging.DEBUG}
    assert all(len(line.message) < 350 and "\n" not in line.message for line in lines)
    words = [line.message.removeprefix("engine auto: ").split() for line in lines]
    speeds = {entry[0]: float(entry[2]) for entry in words if entry[0] != "not"}
    assert min(speeds, key=lambda each: speeds[each]) == engine.name
    assert {*speeds, *(entry[1].rstrip(":") for entry in words if entry[0] == "not")} == {*AUTO}


def test_auto_says_why_it_did_not_take_the_others(
    bundle: ModelBundle, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "faster_engine.py").write_text(
        "from m3l_core.errors import require\ndef load(*arguments): require('no_such_package', 'faster')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(ENGINES, "faster", "faster_engine:load")
    monkeypatch.setattr("m3l_core.engines.engine.AUTO", ("faster",))
    with pytest.raises(
        EngineError, match=rf"no engine can be loaded\. faster: .*{re.escape(install_command('faster'))}"
    ):
        load_engine(bundle)
    monkeypatch.setattr("m3l_core.engines.engine.AUTO", ("faster", "torch"))
    with caplog.at_level(logging.DEBUG, "m3l_core.engines.engine"):
        assert load_engine(bundle, precision="fp32").name == "torch"
    assert "engine auto: torch fp32, " in caplog.text
    assert "engine auto: not faster: This needs the Python package 'no_such_package'" in caplog.text
    # What to do about it stands at the end.
    assert install_command("faster") in caplog.text


@pytest.mark.parametrize("error", [RuntimeError("a driver fell over"), ImportError("half a library"), KeyError("GPU")])
def test_auto_survives_whatever_one_candidate_raises(
    tiny_bundle: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(bundle: ModelBundle, precision: str, num_threads: int) -> Engine:
        raise error

    real = engine_module._loader
    monkeypatch.setattr(engine_module, "AUTO", ("onnxruntime", "torch"))
    monkeypatch.setattr(engine_module, "_loader", lambda name: fails if name == "onnxruntime" else real(name))
    caplog.set_level(logging.DEBUG, "m3l_core.engines.engine")
    assert load_engine(ModelBundle.load(tiny_bundle)).name == "torch"
    assert f"onnxruntime: {error}" in caplog.text
    monkeypatch.setattr(engine_module, "_loader", lambda name: fails)
    with pytest.raises(EngineError, match=r"no engine can be loaded\. onnxruntime: "):
        load_engine(ModelBundle.load(tiny_bundle))


def test_auto_does_without_the_engines_that_need_a_graph(
    tiny_bundle: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_bundle.parent)  # reasons are cut in the log, and a long path would be all of one
    with caplog.at_level(logging.DEBUG, "m3l_core.engines.engine"):
        assert load_engine(ModelBundle.load(Path(tiny_bundle.name))).name == "torch"
    assert "has no model.onnx: write it with training/export_onnx.py" in caplog.text


@pytest.mark.parametrize("present", SUBSETS)
@pytest.mark.parametrize("size", [SIZE, (120, 200), (30, 41)])
def test_every_engine_labels_as_torch_does(
    bundle: ModelBundle, model_input: ModelInput, name: str, present: list[bool], size: tuple[int, int]
) -> None:
    given = with_present(model_input, present)
    expected, found = (load_engine(bundle, each, "fp32").infer(given, size) for each in ("torch", name))
    assert len(np.unique(expected.labels)) > 1
    assert (found.labels == expected.labels).mean() >= 0.9999
    assert abs(found.confidence.astype(int) - expected.confidence).max() <= 1


@pytest.mark.parametrize("present", SUBSETS)
@pytest.mark.parametrize("fast", ["torch", "openvino"])
def test_bf16_labels_nearly_as_fp32(
    bundle: ModelBundle, model_input: ModelInput, fast: str, present: list[bool]
) -> None:
    given = with_present(model_input, present)
    exact = load_engine(bundle, "torch", "fp32").infer(given, SIZE)
    try:
        rounded = load_engine(bundle, installed(fast), "bf16").infer(given, SIZE)
    except EngineError as error:
        pytest.skip(str(error))
    assert len(np.unique(exact.labels)) > 1
    assert (exact.labels == rounded.labels).mean() > 0.95
    assert abs(exact.confidence.astype(int) - rounded.confidence).max() < 16


@pytest.mark.parametrize("size", [SIZE, (48, 64), (120, 200), (1, 1)])
def test_labels_have_the_size_asked_for(
    bundle: ModelBundle, model_input: ModelInput, name: str, size: tuple[int, int]
) -> None:
    segmentation = load_engine(bundle, name, "fp32").infer(model_input, size)
    for image in (segmentation.labels, segmentation.confidence):
        assert image.shape == size
        assert image.dtype == np.uint8


def test_what_stands_in_a_missing_image_does_not_matter(
    bundle: ModelBundle, model_input: ModelInput, name: str
) -> None:
    engine = load_engine(bundle, name, "fp32")
    noise = model_input.images.copy()
    noise[0, 1] = np.random.default_rng(0).normal(size=noise[0, 1].shape)
    present = np.array([[True, False]])
    one, other = (engine.infer(ModelInput(images, present), SIZE) for images in (model_input.images, noise))
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.confidence, other.confidence)


def test_an_engine_keeps_nothing_from_frame_to_frame_and_leaves_its_input_alone(
    bundle: ModelBundle, model_input: ModelInput, name: str
) -> None:
    engine: Engine = load_engine(bundle, name, "fp32")
    former = model_input.images.copy()
    first = engine.infer(model_input, SIZE)
    labels = first.labels.copy()
    engine.infer(with_present(model_input, [False, True]), (30, 40))
    second = engine.infer(model_input, SIZE)
    np.testing.assert_array_equal(labels, second.labels)
    np.testing.assert_array_equal(labels, first.labels)
    np.testing.assert_array_equal(model_input.images, former)


def test_images_that_are_used_again_for_the_next_frame_do_not_change_labels_already_given(
    bundle: ModelBundle, model_input: ModelInput, name: str
) -> None:
    engine = load_engine(bundle, name, "fp32")
    images = model_input.images.copy()
    first = engine.infer(ModelInput(images, model_input.present), SIZE)
    labels = first.labels.copy()
    images[:] = 0.0
    engine.infer(ModelInput(images, model_input.present), SIZE)
    np.testing.assert_array_equal(first.labels, labels)


@pytest.mark.parametrize("shape", [(1, 2, 3, 64, 64), (1, 1, 3, 64, 96), (2, 2, 3, 64, 96), (1, 2, 64, 96)])
def test_an_input_of_another_shape_is_refused(bundle: ModelBundle, name: str, shape: tuple[int, ...]) -> None:
    engine = load_engine(bundle, name, "fp32")
    wrong = ModelInput(np.zeros(shape, np.float32), np.ones(shape[:2], np.bool_))
    with pytest.raises(EngineError, match=r"expected images of shape \(1, 2, 3, 64, 96\), got "):
        engine.infer(wrong, SIZE)


def test_threads_are_as_asked(bundle: ModelBundle) -> None:
    import torch

    from m3l_core.engines.torch_engine import _torch_thread

    for number in (1, 2):
        load_engine(bundle, "torch", "fp32", num_threads=number)
        assert _torch_thread.submit(torch.get_num_threads).result() == number


def without_torch(script: str, *arguments: str) -> str:
    """Run a script in a Python of its own that finds no torch."""
    blocked = "import sys\nsys.modules['torch'] = None\n" + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", blocked, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_torch_its_engine_names_the_extra(tiny_bundle: Path) -> None:
    said = without_torch(
        """
        from m3l_core.bundle import ModelBundle
        from m3l_core.engines.engine import load_engine
        from m3l_core.errors import EngineError, MissingPackageError

        bundle = ModelBundle.load(sys.argv[1])
        try:
            load_engine(bundle, "torch")
        except MissingPackageError as error:
            print(error)
        import m3l_core.engines.engine as table
        table.AUTO = ("torch",)
        try:
            load_engine(bundle)
        except EngineError as error:
            print(error)
        """,
        str(tiny_bundle),
    )
    assert said.count(install_command("train")) == 2
    assert "no engine can be loaded. torch: " in said


@pytest.mark.needs("onnxruntime", "openvino")
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("shape", [(2, 4, 32, 48), (1, 4, 64, 96)])
def test_a_graph_of_another_network_is_refused_when_it_is_loaded(
    tmp_path: Path, name: str, shape: tuple[int, int, int, int]
) -> None:
    bundle = ModelBundle.load(write_onnx_bundle(tmp_path / "bundle")).add_graph(tiny_graph(*shape))
    with pytest.raises(EngineError, match=f"{name} cannot use the graph of .*Export it again"):
        load_engine(bundle, name, "fp32")


def test_a_graph_that_gives_other_labels_is_refused(tiny_bundle: Path) -> None:
    class Odd:
        name, precision, device = "odd", "fp32", "CPU"

        def __init__(self, found: Segmentation) -> None:
            self._found = found

        def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
            return self._found

    bundle, good = ModelBundle.load(tiny_bundle), np.zeros((37, 53), np.uint8)
    engine_module.check_graph(Odd(Segmentation(good, good)), bundle)
    for labels, confidence in ((good + 4, good), (good[1:], good), (good.astype(np.int64), good), (good, good[:, :1])):
        with pytest.raises(EngineError, match="should give labels and confidence of any size"):
            engine_module.check_graph(Odd(Segmentation(labels, confidence)), bundle)
