"""``m3l_build_engine`` builds what is not there yet, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import fake_gpu
from support.tensorrt_rtx import tensorrt_rtx

from m3l_core.bundle import ModelBundle
from m3l_core.engines import build_engine
from m3l_core.engines.build_engine import build_into_cache, engine_facts, prepared_graph
from m3l_core.engines.engine_cache import engine_folder, find, read
from m3l_core.engines.label_sizes import LabelSizes
from m3l_core.engines.onnx_typing import typed
from m3l_core.engines.tensorrt_builder import BuildOptions
from m3l_core.errors import BundleError, EngineError
from m3l_core.installation import install_command

pytestmark = pytest.mark.needs("onnxruntime")
ROOT = Path(__file__).parents[3]
OPTIONS = BuildOptions(LabelSizes.up_to((200, 240), (64, 96)))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("M3L_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


@pytest.fixture
def bundle(exported_bundle: Path) -> ModelBundle:
    return ModelBundle.load(exported_bundle)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> fake_gpu.FakeGpu:
    return fake_gpu.install(monkeypatch)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["m3l_build_engine", *arguments])
    build_engine.main()


def test_the_command_builds_once_and_says_what_was_built(
    bundle: ModelBundle, gpu: fake_gpu.FakeGpu, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(monkeypatch, str(bundle.folder), "--max-size", "200", "240")
    said = capsys.readouterr().out
    assert said.startswith(f"building a fp16 engine of {bundle.folder} for Pretended with TensorRT 10.3.0\n")
    assert "fp16 engine for Pretended, TensorRT 10.3.0, labels up to 200x240: built in " in said
    assert "layers as built: 1 fp16\n" in said
    assert "peak memory: this process: " in said
    assert "NOT A SINGLE LAYER" not in said
    engine = find(bundle, "fp16", fake_gpu.VERSION, fake_gpu.DEVICE)
    assert said.splitlines()[-1] == str(engine_folder() / engine.facts.key)
    assert (engine_folder() / "timing-10.3.0-Pretended.cache").read_bytes() == b"timings"
    command(monkeypatch, str(bundle.folder), "--max-size", "200", "240")
    assert "building" not in capsys.readouterr().out
    command(monkeypatch, str(bundle.folder), "--max-size", "200", "240", "--force")
    assert "building" in capsys.readouterr().out


def test_an_engine_in_another_precision_than_asked_for_is_told(
    bundle: ModelBundle, gpu: fake_gpu.FakeGpu, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu.told_types = "Float"
    command(monkeypatch, str(bundle.folder))
    assert "layers as built: 1 fp32\n" in (said := capsys.readouterr().out)
    assert "NOT A SINGLE LAYER computes in fp16" in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {"label_sizes": LabelSizes.up_to((720, 1280), (64, 96))}),
        (["--size", "480", "640"], {"label_sizes": LabelSizes.only((480, 640))}),
        (["--workspace-gb", "0.5"], {"workspace_bytes": 2**29}),
        (["--precision", "bf16"], {"precision": "bf16"}),
        (["--precision", "fp32"], {"precision": "fp32"}),
    ],
)
def test_the_arguments_reach_the_engine(
    bundle: ModelBundle,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    expected: dict[str, Any],
) -> None:
    seen: dict[str, Any] = {}

    def built(bundle: ModelBundle, precision: str, options: BuildOptions, force: bool) -> None:
        facts = engine_facts(bundle, precision, options, "11.4", fake_gpu.DEVICE)
        seen.update({name: getattr(facts, name) for name in expected})
        raise EngineError("enough")

    monkeypatch.setattr(build_engine, "build_into_cache", built)
    monkeypatch.setattr(build_engine, "require_packages", lambda: None)
    with pytest.raises(SystemExit):
        command(monkeypatch, str(bundle.folder), *arguments)
    assert seen == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ["--size", "0", "640"],
        ["--size", "480"],
        ["--max-size", "a", "b"],
        ["--size", "1", "1", "--max-size", "2", "2"],
        ["--precision", "int3"],
        ["--workspace-gb", "0"],
        ["--workspace-gb", "-1"],
        ["--workspace-gb", "nan"],
    ],
)
def test_arguments_that_mean_nothing_are_refused(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, str(bundle.folder), *arguments)
    assert ended.value.code != 0
    assert arguments[0] in capsys.readouterr().err


def test_a_damaged_engine_is_built_again(bundle: ModelBundle, gpu: fake_gpu.FakeGpu) -> None:
    built = build_into_cache(bundle, "fp16", OPTIONS)
    (engine_folder() / built.facts.key / "engine.plan").write_bytes(b"cut")
    assert build_into_cache(bundle, "fp16", OPTIONS).content == built.content
    assert read(built.facts.key).content == built.content


@pytest.mark.parametrize("during", ["build", "inspect", "store"])
def test_a_build_that_ends_half_way_leaves_nothing_that_loads(
    bundle: ModelBundle, gpu: fake_gpu.FakeGpu, monkeypatch: pytest.MonkeyPatch, during: str
) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build_engine, during, interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_into_cache(bundle, "fp16", OPTIONS)
    with pytest.raises(EngineError, match="m3l_build_engine"):
        find(bundle, "fp16", fake_gpu.VERSION, fake_gpu.DEVICE)


def test_out_of_memory_says_what_to_do_and_stores_nothing(bundle: ModelBundle, gpu: fake_gpu.FakeGpu) -> None:
    gpu.build_error = "Error Code 2: OutOfMemory (Requested size was 536870912 bytes.)"
    with pytest.raises(EngineError, match=r"cannot build the engine: .*OutOfMemory.*close other programs.*--max-size"):
        build_into_cache(bundle, "fp16", OPTIONS)
    assert list(engine_folder().glob("*/engine.json")) == []


def test_typing_is_done_for_fp16_and_bf16_alone(bundle: ModelBundle) -> None:
    from onnx import ModelProto

    plain = ModelProto.FromString(prepared_graph(bundle, "fp32", OPTIONS.label_sizes))
    half = prepared_graph(bundle, "fp16", OPTIONS.label_sizes)
    assert half == typed(plain, "fp16").SerializeToString()
    assert "size" in {each.name for each in plain.graph.input}
    fixed = ModelProto.FromString(prepared_graph(bundle, "fp32", LabelSizes.only((48, 64))))
    assert "size" not in {each.name for each in fixed.graph.input}
    with pytest.raises(BundleError, match=r"has no model\.int8\.onnx"):
        prepared_graph(bundle, "int8", OPTIONS.label_sizes)


@pytest.mark.filterwarnings("ignore:.*Timing cache operations are no-ops:DeprecationWarning")
def test_with_nvidias_library_an_engine_gets_into_the_cache(
    bundle: ModelBundle, gpu: fake_gpu.FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_rtx())
    monkeypatch.setattr(build_engine, "inspect", lambda trt, content: {"fp16": 40})  # it cannot be read without a GPU
    built = build_into_cache(bundle, "fp16", OPTIONS)
    assert len(built.content) > 10_000
    assert built == build_into_cache(bundle, "fp16", OPTIONS)


@pytest.mark.parametrize("module", ["build_engine", "check_gpu"])
def test_without_a_gpu_the_command_says_what_to_install(exported_bundle: Path, module: str) -> None:
    script = (
        "import ctypes, sys\n"
        "def absent(name): raise OSError(name + ': cannot open shared object file')\n"
        "ctypes.CDLL = absent\n"
        f"from m3l_core.engines.{module} import main\n"
        f"sys.argv = ['m3l_{module}', {str(exported_bundle)!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"m3l_{module}: TensorRT needs an NVIDIA GPU, and its driver cannot be loaded")
    assert "Traceback" not in done.stderr


def test_without_tensorrt_the_command_names_the_extra(
    bundle: ModelBundle, gpu: fake_gpu.FakeGpu, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(SystemExit):
        command(monkeypatch, str(bundle.folder))
    assert install_command("tensorrt") in capsys.readouterr().err


def test_without_a_library_that_reaches_cuda_the_command_names_both_extras(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_gpu.install(monkeypatch, "neither")
    with pytest.raises(SystemExit):
        command(monkeypatch, str(bundle.folder))
    said = capsys.readouterr().err
    assert re.search(r"reaches CUDA by pycuda or cuda-bindings.*pycuda\.driver: .*cuda\.bindings\.driver: ", said)
    assert install_command("tensorrt") in said
    assert install_command("tensorrtbindings") in said
