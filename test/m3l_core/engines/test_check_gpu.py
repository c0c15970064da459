"""``m3l_check_gpu``: the table tells how well and how fast an engine labels, and a wrong engine is an error."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support import fake_gpu
from support.engines import ConstantEngine
from support.rooms import write_rooms

from m3l_core.engines import check_gpu
from m3l_core.engines.check_gpu import compare, load_reference
from m3l_core.engines.engine import latencies
from m3l_core.errors import EngineError
from m3l_core.frames import ModelInput, Segmentation

pytestmark = pytest.mark.needs("onnxruntime")
NAMES = ("color", "depth")
FRAMES = [ModelInput(np.full((1, 2, 3, 8, 8), value, np.float32), np.ones((1, 2), np.bool_)) for value in (0, 1)]


class Other(ConstantEngine):
    """Wrong on a quarter of the pixels where depth alone is there."""

    name = "other"

    def infer(self, model_input: ModelInput, size: tuple[int, int]) -> Segmentation:
        found = super().infer(model_input, size)
        if not model_input.present[0, 0]:
            found.labels[: size[0] // 4] = 9
        return found


@pytest.fixture(autouse=True)
def few_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(check_gpu, "latencies", lambda *given: latencies(*given[:3], 1, 5))
    monkeypatch.setenv("M3L_CACHE", str(tmp_path / "cache"))


def test_every_subset_has_a_line_and_the_worst_counts() -> None:
    rows, worst = compare(ConstantEngine(), [Other()], FRAMES, NAMES, (8, 8))
    assert worst == 0.75
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert len({len(row) for row in cells}) == 1
    assert [(row[0], row[2], row[3]) for row in cells[2:]] == [
        ("other fp32", "color+depth", "100.000%"),
        ("constant fp32", "color+depth", "(reference)"),
        ("other fp32", "color", "100.000%"),
        ("constant fp32", "color", "(reference)"),
        ("other fp32", "depth", "75.000%"),
        ("constant fp32", "depth", "(reference)"),
    ]
    for row in cells[2:]:
        p50, p95, rate = (float(cell) for cell in row[4:])
        assert 0 <= p50 <= p95
        assert rate > 0


def test_the_runs_that_warm_up_do_not_count() -> None:
    engine = ConstantEngine()
    assert len(latencies(engine, FRAMES, (8, 8), 3, 7)) == 7


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_gpu.FakeGpu]:
    with fake_gpu.all_freed(fake_gpu.install(monkeypatch)) as gpu:
        yield gpu


@pytest.fixture
def arguments(exported_bundle: Path, tmp_path: Path) -> list[str]:
    frames = write_rooms(tmp_path / "rooms", train=1, validation=1) / "train.json"
    return ["m3l_check_gpu", str(exported_bundle), "--frames", str(frames), "--max-size", "200", "240"]


@pytest.mark.parametrize(
    ("libraries", "told"),
    [
        (["pycuda"], ["CUDA through | pycuda 2026.1", "CUDA graphs through | cuda-bindings: not installed"]),
        (
            ["cuda-bindings"],
            ["CUDA through | cuda-bindings 13.5.0", "CUDA graphs through | cuda-bindings: 13.5.0"],
        ),
    ],
)
def test_the_table_says_which_library_reached_cuda(
    arguments: list[str],
    libraries: list[str],
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(check_gpu, "compare", lambda *given: ([], 1.0))
    monkeypatch.setattr(sys, "argv", arguments)
    with fake_gpu.all_freed(fake_gpu.install(monkeypatch, *libraries)):
        check_gpu.main()
    said = capsys.readouterr().out
    assert [f"| {line} |" in said for line in told] == [True, True]


def test_the_command_prints_a_table_to_paste(
    arguments: list[str], gpu: fake_gpu.FakeGpu, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [*arguments, "--precision", "fp32", "fp16"])
    check_gpu.main()
    said = capsys.readouterr().out
    assert "| GPU | Pretended, compute capability 8.7 |" in said
    assert "| driver | serves CUDA 12.6 |" in said
    assert "| TensorRT | 10.3.0 |" in said
    assert "| bundle | tiny, input 64x96, labels 128x192 |" in said
    for sensors in ("color+depth", "color", "depth"):
        agreement = re.search(rf"\| tensorrt fp32 \| Pretended \| {re.escape(sensors)} \| (\S+)% ", said)
        assert agreement is not None
        assert float(agreement[1]) > 99.9
        assert re.search(rf"\| tensorrt fp16 \| Pretended \| {re.escape(sensors)} \|", said)
        assert re.search(rf"\| torch fp32 \| CPU \| {re.escape(sensors)} \| \(reference\)", said)


def test_an_engine_that_labels_otherwise_is_an_error_after_the_table(
    arguments: list[str], gpu: fake_gpu.FakeGpu, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [*arguments, "--precision", "fp32"])
    monkeypatch.setattr(check_gpu, "load_reference", lambda bundle: ConstantEngine())
    with pytest.raises(SystemExit, match="1"):
        check_gpu.main()
    captured = capsys.readouterr()
    assert "| tensorrt fp32 | Pretended | depth |" in captured.out
    assert re.search(r"m3l_check_gpu: the labels agree on \d+\.\d+% only, expected 99%: please report", captured.err)


def test_without_torch_another_engine_is_the_reference(exported_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from m3l_core.bundle import ModelBundle

    bundle = ModelBundle.load(exported_bundle)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert load_reference(bundle).name == "onnxruntime"
    for package in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EngineError, match=r"nothing to compare with\. .*torch.*onnxruntime.*openvino"):
        load_reference(bundle)
