"""Every command of README and docs is run here, as it stands or on less, or says why it is not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from support.markdown import PAGES, ROOT, blocks, commands, inline_commands, place
from support.needs import require_modules
from support.python_path import python_path

from m3l_core.bundle import DESCRIPTION_FILE
from m3l_core.shipped import shipped_bundle, shipped_recording


@dataclass(frozen=True)
class Run:
    """How a command is run here."""

    needs: str = ""
    """Modules without which it is skipped."""
    add: str = ""
    """Arguments that make it short."""
    replace: dict[str, str] = field(default_factory=dict)
    """Placeholders of the page -> what lies in the folder where it is run."""


ROS = "needs a ROS 2 installation; test/test_workspace.py and test/launch/test_segment_launch.py run it"
RUNS_THIS = "runs this test itself"
HOURS = "trains for hours; test/training/experiments/{} runs it on less"
FLEET = "needs several machines and an object store; test/m3l_core/replay/test_command.py runs it on one machine"
GPU = "needs an NVIDIA GPU with TensorRT; test/m3l_core/engines/{} runs it without"
INSTALLS = "installs packages from the network"

PYTHON = ".venv/bin/python "
REPLAY = ".venv/bin/m3l_replay m3l_core/data/recordings/rooms_a "
TRAIN = PYTHON + "training/train.py training/recipes/methods/"
TINY_PHASES = "phases=[{iterations: 2, batch: 2, crop: [32, 48], scale: [0.5, 1.0]}]"
TINY = {
    " --data DATA": " 'encoder={widths: [8, 16, 40, 64], depths: [1, 1, 1, 1]}' head_width=16 mixed_precision=false "
    f"'{TINY_PHASES}' optimizer.warmup_iterations=1 --data DATA"
}
TINY_SUBSETS = TINY | {
    " DATA/labels.yaml": f" DATA/labels.yaml start_weights=random 'subset_networks.{TINY_PHASES}' "
    "subset_networks.optimizer.warmup_iterations=1"
}
QUIET = "--workers 0 --no-tensorboard"
BAGS = {"BAG...": "recordings/hall recordings/kitchen"}
EXPORTED = "torch onnx onnxscript onnxruntime"

COMMANDS: dict[str, Run | str] = {
    # README
    "git clone REPOSITORY m3l_ros && cd m3l_ros": "needs the network",
    "scripts/demo": "test/m3l_ros/demo/test_demo.py runs what it starts",
    "cd ~/ros2_ws/src && git clone REPOSITORY m3l_ros": ROS,
    "ros2 run m3l_ros install_packages openvino": ROS,
    "cd ~/ros2_ws && rosdep install --from-paths src -iy && colcon build --packages-select m3l_ros": ROS,
    "source install/setup.bash": ROS,
    "ros2 launch m3l_ros segment.launch.py camera:=realsense": ROS,
    "ros2 launch m3l_ros segment.launch.py camera:=sample_recording": ROS,
    "ros2 bag play src/m3l_ros/m3l_core/data/recordings/rooms_a": ROS,
    REPLAY + "--label-topic /ground_truth/labels --scenario none no_color no_depth intermittent degraded "
    "--output runs/replay": Run("openvino", add="--engine openvino"),
    "scripts/test": RUNS_THIS,
    # docs/install.md
    ".venv/bin/m3l_segment_node --ros-args -p autostart:=true": "test/m3l_ros/test_node_process.py starts the node so",
    "scripts/setup_env ros,openvino": INSTALLS,
    "colcon test --packages-select m3l_ros": "needs colcon; test/test_workspace.py builds with it",
    "colcon test-result --verbose": "needs colcon",
    # docs/node.md
    "ros2 launch m3l_ros segment.launch.py --show-args": ROS,
    # docs/consumers.md
    "ros2 launch m3l_ros segment.launch.py camera:=realsense "
    "params_file:=$(ros2 pkg prefix --share m3l_ros)/config/consumers/hydra.yaml": ROS,
    ".venv/bin/m3l_label_space m3l_core/data/bundles/indoor --output hydra": (
        "test/m3l_core/test_label_space.py runs it"
    ),
    # docs/replay.md
    REPLAY + "--label-topic /ground_truth/labels --engine openvino --fail-under gap=0.6,none:miou=0.4": Run("openvino"),
    REPLAY + "--scenario no_depth --live": "test/m3l_ros/live_replay/test_live_replay.py runs it",
    REPLAY + "--scenario degraded --output runs/look --annotate": Run("openvino", add="--engine openvino"),
    REPLAY + "--label-topic /ground_truth/labels --scenario intermittent --output runs/look --rerun": (
        "test/m3l_core/replay/recordings/test_sinks.py runs it"
    ),
    ".venv/bin/rerun runs/look/rerun/rooms_a_intermittent.rrd": "opens a window",
    # docs/benchmarks.md
    PYTHON + "-m benchmarks.network": Run("torch", add="--size 64 96 --runs 2 --threads 1"),
    PYTHON + "-m benchmarks.training_step --batch 2 --runs 8": Run("torch", add="--size 64 96 --runs 2 --threads 1"),
    PYTHON + "-m benchmarks.node_overhead": Run("rclpy", add="--seconds 1"),
    PYTHON + "-m benchmarks.node_overhead --transport compressed": Run("rclpy", add="--seconds 1"),
    PYTHON + "-m benchmarks.soak --minutes 60": Run("rclpy", add="--minutes 0.05"),
    PYTHON + "-m benchmarks.outputs": Run("rclpy", add="--runs 2"),
    PYTHON + "-m benchmarks.synchronizer": Run(add="--repeats 1"),
    PYTHON + "-m benchmarks.replay": Run("openvino", add="--seconds 1"),
    PYTHON + "-m benchmarks.replay --scenario none": Run("openvino", add="--seconds 1"),
    PYTHON + "-m benchmarks.replay --memory": "replays ten minutes",
    PYTHON + "-m benchmarks.extraction": Run(add="--seconds 1 --repeats 1"),
    PYTHON + "-m benchmarks.extraction --memory": "extracts six minutes",
    # docs/contributing.md
    "scripts/setup_env ros,openvino,train,imagenet,reference,datasets,rerun,rtx,fleet,test": INSTALLS,
    "scripts/test test/m3l_core/streaming": RUNS_THIS,
    PYTHON + "-m pytest FILE": RUNS_THIS,
    "scripts/test_lower_bounds -q": INSTALLS,
    "M3L_MUTANTS=25 scripts/mutate m3l_core/streaming/rhythm.py test/m3l_core/streaming": "takes many minutes",
    ".venv/bin/ruff check": "scripts/test runs it before the tests",
    ".venv/bin/ruff format --check": "scripts/test runs it before the tests",
    ".venv/bin/mypy": "scripts/test runs it before the tests",
    # docs/engines.md
    PYTHON + "training/export_onnx.py BUNDLE --frames BAG_OR_INDEX": Run(
        EXPORTED, replace={"BUNDLE": "tiny", "BAG_OR_INDEX": "recordings/hall"}
    ),
    PYTHON + "-m benchmarks.engines --others": "needs transformers, and measures for minutes",
    PYTHON + '-m benchmarks.engines --others --only "openvino bf16" --runs 30': (
        "needs transformers, and measures for minutes"
    ),
    PYTHON + '-m benchmarks.engines --size 240 320 --only "openvino bf16" --runs 40': (
        "starts every engine anew several times, and measures for minutes"
    ),
    PYTHON + "-m benchmarks.engines --size 240 320": "starts every engine anew several times, and measures for minutes",
    PYTHON + "training/quantize.py runs/indoor/bundle --frames nyuv2/train.json --validation nyuv2/val.json "
    "--class-map training/recipes/data/indoor.yaml#data.0.class_map": (
        "test/training/test_quantize.py runs it on others"
    ),
    PYTHON + "training/quantize.py BUNDLE --frames my_bag --validation rooms/val.json": (
        "test/training/test_quantize.py runs it"
    ),
    "m3l_build_engine BUNDLE": GPU.format("test_build_engine.py"),
    "m3l_check_gpu BUNDLE": GPU.format("test_check_gpu.py"),
    "scripts/check_on_gpu": "needs an NVIDIA GPU; test/test_check_on_gpu.py runs it without",
    PYTHON + "-m benchmarks.gpu --engines": Run("torch onnxruntime", add="--size 64 96 --runs 1 --threads 1"),
    PYTHON + "training/extract_bag.py m3l_core/data/recordings/rooms_a --label /ground_truth/labels --output frames": (
        Run()
    ),
    PYTHON + "-m benchmarks.gpu --training frames/rooms_a/frames.json": Run(
        "torch onnxruntime", add="--iterations 2 --crop 32 64 --threads 1"
    ),
    # docs/fleet.md
    "pip install 'm3l_ros[fleet]' s3fs": INSTALLS,
    "ray start --head": FLEET,
    "ray start --address=HEAD:6379": FLEET,
    "m3l_replay s3://fleet/bags/{a,b,c} --ray auto --bundle s3://fleet/bundle --output s3://fleet/report": FLEET,
    "python training/extract_bag.py s3://fleet/bags/{a,b,c} --ray ray://HEAD:10001 --output s3://fleet/data": FLEET,
    # docs/results.md
    PYTHON + "training/experiments/rooms.py --data rooms --jobs 2": HOURS.format("test_rooms.py"),
    PYTHON + "training/experiments/rooms.py --data rooms --jobs 2 --ablation": HOURS.format("test_rooms.py"),
    PYTHON + "training/experiments/rooms.py --data rooms --jobs 2 --imagenet": HOURS.format("test_rooms.py"),
    PYTHON + "training/experiments/rooms_tables.py": "rewrites docs/results.md",
    PYTHON + "training/experiments/nyuv2.py --data nyuv2 --jobs 2": HOURS.format("test_nyuv2.py"),
    PYTHON + "training/experiments/nyuv2_tables.py": "rewrites docs/results.md",
    PYTHON + "training/evaluate.py m3l_core/data/bundles/indoor nyuv2/test_open.json --engine openvino --precision "
    "bf16 --class-map training/recipes/data/indoor.yaml#data.0.class_map --conditions subsets "
    "--output runs/nyuv2_test": ("needs NYU Depth v2; test/training/test_evaluate.py runs it on drawn rooms"),
    TRAIN + "paper_supervised_dropout.yaml training/recipes/indoor_start.yaml data.0.labelled=null "
    "name=indoor_rendered --data DATA --output runs/indoor_rendered": (
        "trains for half an hour, and needs NYU Depth v2 and the rooms"
    ),
    ".venv/bin/m3l_replay runs/robot_lab --bundle BUNDLE --scenario none no_color no_depth intermittent degraded "
    "--output runs/replay": "needs frames of a robot; test/m3l_core/replay/test_command.py runs it on others",
    PYTHON + "training/experiments/selection.py --data rooms --jobs 2": HOURS.format("test_selection.py"),
    # docs/training.md
    "scripts/setup_env ros,train,imagenet": INSTALLS,
    PYTHON + "training/extract_bag.py BAG... --output DATA": Run(replace=BAGS),
    PYTHON + "training/select_frames.py DATA --budget 49 --output to_label": Run(
        "openvino", add="--budget 10 --bundle m3l_core/data/bundles/indoor --engine openvino"
    ),
    PYTHON + "training/import_labels.py DATA EXPORT... --selection to_label": Run(
        "openvino", replace={"EXPORT...": "to_label/masks"}
    ),
    "to_label/label_studio/start.sh": "needs Label Studio; test/training/test_label_studio_round.py runs it",
    "to_label/label_studio/start.sh export labels.json": (
        "needs Label Studio; test/training/test_label_studio_round.py runs it"
    ),
    PYTHON + "training/import_labels.py DATA labels.json --selection to_label --status": (
        "needs Label Studio; test/training/test_label_studio_round.py runs it"
    ),
    PYTHON + "training/extract_bag.py BAG... --output DATA --label /sam3/label_mask --nothing 0 --class-map sam3.yaml "
    '--teacher "SAM 3" --teacher-licence "SAM License"': (
        "needs a recording of that model; test/training/test_extract_bag.py runs it on a drawn one"
    ),
    PYTHON + "training/index_folder.py DATA": Run("openvino"),
    PYTHON + "training/check_dataset.py DATA/train.json --labels DATA/labels.yaml --output runs/check": Run("openvino"),
    TRAIN + "m3l_subsets.yaml training/recipes/efficientnet_lite0.yaml DATA/labels.yaml --data DATA "
    "--output runs/mine": Run("openvino " + EXPORTED, add=QUIET, replace=TINY_SUBSETS),
    TRAIN + "paper_supervised.yaml training/recipes/small_machine.yaml DATA/labels.yaml --data DATA "
    "--output runs/random_start": Run("openvino " + EXPORTED, add=QUIET, replace=TINY),
    TRAIN + "m3l_plus.yaml training/recipes/small_machine.yaml DATA/labels.yaml "
    "start_weights=runs/random_start/bundle --data DATA --output runs/random": Run(
        "openvino " + EXPORTED, add=QUIET, replace=TINY
    ),
    ".venv/bin/m3l_replay BAG... --bundle runs/mine/bundle --scenario emm intermittent degraded "
    "--output runs/replay": Run("openvino " + EXPORTED, add="--engine openvino", replace=BAGS),
    "ros2 launch m3l_ros segment.launch.py bundle:=$PWD/runs/mine/bundle": ROS,
    PYTHON + "training/make_recording.py robot_lab runs/robot_lab --rate 15": (
        "needs frames of a robot; test/training/test_make_recording.py runs it on drawn ones"
    ),
    ".venv/bin/m3l_replay runs/robot_lab --bundle runs/mine/bundle --scenario none no_color no_depth intermittent "
    "degraded --output runs/replay": "needs frames of a robot; README's replay is the same",
    PYTHON + "training/experiments/nyuv2.py --data nyuv2 --only m3l_subsets-0.20-0 --results runs/mean_teacher "
    "method.modality_dropout=null": HOURS.format("test_nyuv2.py"),
    PYTHON + "training/experiments/depth_input.py --data nyuv2 --jobs 2": HOURS.format("test_depth_input.py"),
    PYTHON + "training/experiments/depth_holes.py robot_lab/frames.json nyuv2/train.json": (
        "needs frames of a robot and NYU Depth v2; test/training/experiments/test_depth_holes.py runs it on less"
    ),
    PYTHON + "training/experiments/sensor_strength.py --data nyuv2 --jobs 2": HOURS.format("test_sensor_strength.py"),
    "torchrun --nproc-per-node 4 training/train.py RECIPE... --data DATA --output runs/mine": (
        "test/training/test_train.py runs it with two processes"
    ),
    "scripts/setup_env ros,train,datasets": INSTALLS,
    PYTHON + "training/import_dataset.py stanford_indoor /data/2d3ds --output stanford --max-side 540": (
        "needs a published set; test/training/test_import_dataset.py runs it on a small tree of that layout"
    ),
    TRAIN + "m3l_plus.yaml stanford/labels.yaml input_height=512 input_width=512 'data={labelled: fold1_train.json, "
    "validation: fold1_test.json, label_fraction: 0.01}' encoder=pvt_v2_b2 start_weights=timm/pvt_v2_b2.in1k "
    "--data stanford --output runs/stanford": "needs a published set, weights from the network and a GPU",
}

PARTS = {
    **{block.name: commands(block) for page in PAGES for block in blocks(page) if block.language == "bash"},
    **{f"{place(page)}:text": inline_commands(page) for page in PAGES if inline_commands(page)},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What looks like the repository, with a short sample recording and the data that the pages speak of."""
    folder = tmp_path_factory.mktemp("user")
    for name in ("training", "benchmarks", "config"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "m3l_core" / "data").mkdir(parents=True)
    (folder / "m3l_core" / "data" / "bundles").symlink_to(ROOT / "m3l_core" / "data" / "bundles")
    write_beginning(shipped_recording(), folder / "m3l_core" / "data" / "recordings" / "rooms_a", seconds=1.5)
    for name in ("hall", "kitchen"):
        write_beginning(shipped_recording(), folder / "recordings" / name, seconds=1)
    (folder / "DATA").mkdir()
    labels = yaml.safe_load((shipped_bundle() / DESCRIPTION_FILE).read_text())["labels"]
    task = {"labels": labels, "modalities": [{"kind": "color"}, {"kind": "depth"}], "input_height": 64}
    task |= {"input_width": 96, "data": {"labelled": "train.json", "validation": "val.json"}}
    task |= {"name": "page", "description": "what the page makes"}
    (folder / "DATA" / "labels.yaml").write_text(yaml.safe_dump(task))
    return folder


def write_beginning(source: Path, target: Path, seconds: float) -> None:
    """The first seconds of a bag, as a bag of the same name as its folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Reader(source) as reader, Writer(target, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {
            connection.id: writer.add_connection(
                connection.topic,
                connection.msgtype,
                msgdef=connection.msgdef.data,
                rihs01=connection.digest,
                offered_qos_profiles=connection.ext.offered_qos_profiles,
            )
            for connection in reader.connections
        }
        for connection, stamp_ns, data in reader.messages():
            if stamp_ns <= reader.start_time + seconds * 1e9:
                writer.write(connections[connection.id], stamp_ns, data)


@pytest.mark.parametrize("part", PARTS)
def test_every_command_is_known(part: str) -> None:
    unknown = [command for command in PARTS[part] if command not in COMMANDS]
    assert not unknown, f"{part}: say in COMMANDS how these are run on less, or why they are not: {unknown}"


def test_no_command_is_listed_that_no_page_has() -> None:
    assert set(COMMANDS) == {command for found in PARTS.values() for command in found}


def test_what_is_said_to_run_a_command_exists() -> None:
    named = {name for why in COMMANDS.values() if isinstance(why, str) for name in re.findall(r"test/[\w/]+\.py", why)}
    assert named and not [name for name in named if not (ROOT / name).is_file()]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "part", [part for part, found in PARTS.items() if any(isinstance(COMMANDS.get(command), Run) for command in found)]
)
def test_commands_run_in_the_order_of_the_page(part: str, folder: Path, tiny_bundle: Path) -> None:
    if not (Path(sys.prefix) / "bin" / "m3l_replay").is_file():
        pytest.skip("needs this package installed in the environment that runs the tests: scripts/setup_env")
    if not (folder / "tiny").exists():
        shutil.copytree(tiny_bundle, folder / "tiny")
    environment = os.environ | {"PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
    for command in PARTS[part]:
        how = COMMANDS[command]
        if isinstance(how, str):
            continue
        require_modules(*how.needs.split())
        shortened = f"{command} {how.add}"
        for placeholder, name in how.replace.items():
            assert placeholder in shortened
            shortened = shortened.replace(placeholder, name)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", shortened],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{shortened}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
