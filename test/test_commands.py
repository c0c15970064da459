"""No command ends in a traceback: each is given the same bad files, outputs that cannot be written and a full disk."""

from __future__ import annotations

import ast
import json
import runpy
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZIP_LZMA, ZipFile

import pytest
import yaml
from support import forks
from support.bags import frames, write_bag
from support.bundles import write_onnx_bundle
from support.dds_domain import own_domain
from support.needs import require_modules
from support.published import write_stanford
from support.recordings import write_sequence
from support.rooms import RECIPE, write_recipe, write_rooms

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]
ROOT = Path(__file__).parents[1]
BAD = "BAD"
"""Stands for each of the bad files."""
OUT = "OUT"
"""Stands for each of the outputs that cannot be."""
DOMAIN = "DOMAIN"
"""Stands for a DDS domain that nobody else is in."""
TRAIN = ["recipe.yaml", "--data", "rooms", "--output", "run", "--workers", "0", "--no-tensorboard"]
DEMO = ["--engine", "onnxruntime", "--output"]
REPLAY = ["--engine", "onnxruntime", "--jobs", "1", "--output"]
COMMANDS: dict[str, tuple[list[list[str]], list[list[str]]]] = {
    "training.extract_bag": (
        [[BAD, "--output", "out", "--jobs", "1"]],
        [["kitchen", "--output", OUT, "--jobs", "1"]],
    ),
    "training.import_dataset": (
        [["stanford_indoor", BAD, "--output", "out", "--workers", "1"]],
        [["stanford_indoor", "stanford", "--output", OUT, "--workers", "1"]],
    ),
    "training.import_labels": (
        [
            [BAD, "rooms/label", "--labels", "rooms/labels.yaml"],
            ["rooms/train.json", BAD],
            *(["rooms/train.json", "rooms/label", option, BAD] for option in ("--selection", "--labels", "--bundle")),
        ],
        [],
    ),
    "training.index_folder": ([[BAD]], []),
    "training.select_frames": (
        [
            [BAD, "--labels", "rooms/labels.yaml", "--budget", "1", "--output", "out"],
            *(["rooms/train.json", "--budget", "1", "--output", "out", at, BAD] for at in ("--labels", "--bundle")),
        ],
        [["rooms/val.json", "--labels", "rooms/labels.yaml", "--budget", "1", "--output", OUT]],
    ),
    "training.check_dataset": (
        [
            [BAD, "--labels", "rooms/labels.yaml", "--workers", "1"],
            *(["rooms/train.json", at, BAD, "--workers", "1"] for at in ("--labels", "--recipe")),
        ],
        [["rooms/train.json", "--labels", "rooms/labels.yaml", "--workers", "1", "--output", OUT]],
    ),
    "training.make_recording": ([[BAD, "out"]], [["rooms/train.json", OUT]]),
    "training.evaluate": (
        [[BAD, "rooms/val.json", "--output", "out"], ["bundle", BAD, "--output", "out"]],
        [["bundle", "rooms/val.json", "--engine", "onnxruntime", "--output", OUT]],
    ),
    "training.export_onnx": ([[BAD], ["bundle", "--frames", BAD]], []),
    "training.quantize": (
        [
            [BAD, "--frames", "kitchen", "--validation", "rooms/val.json"],
            ["bundle", "--frames", BAD, "--validation", "rooms/val.json"],
            ["bundle", "--frames", "kitchen", "--validation", BAD],
        ],
        [],
    ),
    "training.train": (
        [
            [BAD, *TRAIN[1:]],
            ["recipe.yaml", "--data", BAD, "--output", "run"],
            ["recipe.yaml", f"start_weights={BAD}", *TRAIN[1:]],
        ],
        [["recipe.yaml", "--data", "rooms", "--output", OUT, *TRAIN[5:]]],
    ),
    "m3l_core.engines.build_engine:main": ([[BAD]], []),
    "m3l_core.engines.check_gpu:main": ([[BAD]], []),
    "m3l_core.label_space:main": ([[BAD]], [["bundle", "--output", OUT]]),
    "m3l_ros.commands:replay": (
        [[BAD], ["kitchen", "--bundle", BAD], *(["kitchen", at, BAD] for at in ("--labels", "--scenario"))],
        [["kitchen", "--bundle", "bundle", *REPLAY, OUT]],
    ),
    "m3l_ros.commands:demo": (
        [["--bundle", BAD, "--output", "out"], ["--recording", BAD, "--output", "out"]],
        [["--bundle", "bundle", "--recording", "shown", "--domain", DOMAIN, *DEMO, OUT]],
    ),
    "m3l_ros.commands:segment_node": ([["--ros-args", "--params-file", BAD]], []),
}
"""Module of a script, or entry point -> arguments with bad inputs, and with outputs that cannot be written."""
GOOD = {"m3l_ros.commands:segment_node": ("empty", "/dev/null")}
"""Files that are not bad for a command."""
NEEDS = {
    "training.train": ("torch",),
    "training.export_onnx": ("torch", "onnx", "onnxscript", "onnxruntime"),
    "training.evaluate": ("onnxruntime",),
    "training.quantize": ("onnxruntime", "openvino"),
    "m3l_ros.commands:replay": ("onnxruntime",),
    "m3l_ros.commands:demo": ("rclpy", "onnxruntime"),
    "m3l_ros.commands:segment_node": ("rclpy",),
}


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """What the commands work on, whole."""
    folder = tmp_path / "given"
    write_bag(folder / "kitchen", frames(3))
    write_stanford(folder / "stanford", ("1", "5a"), ("office_3",))
    write_rooms(folder / "rooms", train=2, validation=2)
    (folder / "rooms" / "labels.yaml").write_text(yaml.safe_dump({"labels": RECIPE["labels"]}))
    write_recipe(folder / "recipe.yaml")
    write_onnx_bundle(folder / "bundle")
    make_recording = runpy.run_path(str(ROOT / "training" / "make_recording.py"))
    frames_of = make_recording["read_frames"](write_sequence(tmp_path / "sequence", 8))
    make_recording["write_recording"](frames_of, folder / "shown")
    return folder


@pytest.fixture
def bad(tmp_path: Path) -> list[str]:
    folder = tmp_path / "bad"
    folder.mkdir()
    levels = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 12)]
    contents: dict[str, bytes] = {
        "empty": b"",
        "noise.zip": bytes(range(256)) * 9,
        "deep.json": b"[" * 100_000,
        "numbers.json": json.dumps([{"color": 5, "depth": [], "recording": None, "stamp_ns": 10**30}]).encode(),
        "aliases.yaml": "\n".join(["a0: &a0 [x, x, x]", *levels]).encode(),
        "itself.yaml": b"a: &a [*a]",
        "nested.yaml": b"{a: " * 3000,
        "date.yaml": b"name: !!timestamp today",
        "no_text.yaml": b"\xff\xfe\x00",
        "lying.safetensors": (1 << 62).to_bytes(8, "little") + b"{}",
        "cut.mcap": b"\x89MCAP0\r\n" + b"\x01" * 40,
        "cut.db3": b"SQLite format 3\0" + b"\x01" * 40,
        "cut.bag": b"#ROSBAG V2.0\n" + b"\x01" * 40,
        "cut.mcap.zstd": b"\x28\xb5\x2f\xfd" + b"\x01" * 40,
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    with ZipFile(folder / "lzma.zip", "w", ZIP_LZMA) as archive:
        archive.writestr("a.json", bytes(range(256)) * 9)
    damaged = bytearray((folder / "lzma.zip").read_bytes())
    damaged[40:60] = b"\xff" * 20
    (folder / "lzma.zip").write_bytes(damaged)
    (folder / "round").symlink_to("round")
    (folder / "a_folder").mkdir()
    for name in ("metadata.yaml", "model.yaml", "weights.safetensors", "frames.json", "selection.json", "a.png"):
        (folder / "a_folder" / name).write_bytes(contents["aliases.yaml"])
    names = [*contents, "lzma.zip", "round", "a_folder", "missing", "n" * 5000, "deep/" * 2000]
    return [*(f"{folder}/{name}" for name in names), "~nouser/models", "/dev/null", ""]


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path | None]:
    """A disk of 5 MB with 4 kB left; None where no disk can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mount.returncode:
        yield None
        return
    try:
        (disk / "filler").write_bytes(bytes((5 << 20) - (4 << 10)))
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize(
    "command",
    [pytest.param(each, marks=[pytest.mark.dds] if DOMAIN in str(runs) else []) for each, runs in COMMANDS.items()],
)
def test_a_command_that_cannot_be_done_says_so_in_a_line(
    given: Path, bad: list[str], full: Path | None, command: str
) -> None:
    require_modules(*NEEDS.get(command, ()))
    inputs, outputs = COMMANDS[command]
    bad = [name for name in bad if not name.endswith(GOOD.get(command, ()))]
    runs: list[tuple[list[str], str, int | None]] = [
        ([part.replace(BAD, name) for part in arguments], str(given), None) for arguments in inputs for name in bad
    ]
    (given / "in_the_way").write_text("a file")
    nowhere = ["in_the_way/out", "/proc/out", "/sys/out", "n" * 5000, *([f"{full}/out"] if full else [])]
    with own_domain() as domain:
        for template in outputs:
            arguments = [part.replace(DOMAIN, str(domain)) for part in template]
            runs += [([part.replace(OUT, name) for part in arguments], str(given), None) for name in nowhere]
            runs.append(([part.replace(OUT, "small") for part in arguments], str(given), 20))  # no file may be larger
        ended: list[Any] = forks.ask(
            {"do": "support.forks:run_all", "command": command, "runs": runs, "seconds": 120}, timeout=480
        )
    problems = [
        f"{[part[:80] for part in arguments]}: {status}, {said[-300:]}"
        for (arguments, _, _), (status, said) in zip(runs, ended, strict=True)
        if status not in (1, 2, 3) or "Traceback" in said or not said.strip()
    ]
    assert not problems, "\n\n".join(problems)


def test_no_command_is_forgotten() -> None:
    setup = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    values = [node.value for node in ast.walk(setup) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    entry_points = {value.partition(" = ")[2] for value in values if value.startswith("m3l_") and " = " in value}
    scripts = {f"training.{path.stem}" for path in (ROOT / "training").glob("*.py")}
    assert len(entry_points) > 4
    assert COMMANDS.keys() == entry_points | scripts
