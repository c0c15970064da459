"""A package to Label Studio itself and back: what was drawn is labelled, pixel by pixel. Takes minutes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from support.annotations import polygon_pixels
from support.python_path import python_path
from support.rooms import SIZE, write_rooms

from m3l_core.annotation.brush_rle import encode_brush
from m3l_core.annotation.mask_images import decode_mask
from m3l_core.datasets.folder import read_image

ROOT = Path(__file__).parents[2]
COMMAND = os.environ.get("M3L_LABEL_STUDIO") or shutil.which("label-studio")
pytestmark = [
    pytest.mark.needs("torch"),
    pytest.mark.timeout(1500),
    pytest.mark.skipif(
        COMMAND is None,
        reason="needs Label Studio: pip install label-studio elsewhere, M3L_LABEL_STUDIO=/its/label-studio",
    ),
]
FLOOR, WALL, CHAIR = range(3)
POLYGON = [[10.0, 12.5], [81.3, 20.1], [33.4, 90.2], [30.0, 40.0]]
"""Percent of the sides."""


@dataclass(frozen=True)
class Server:
    """Label Studio with the tasks of a package."""

    folder: Path
    """With rooms/ and to_label/."""
    address: str
    token: str

    def call(self, method: str, path: str, content: Any = None) -> bytes:
        headers = {"Authorization": f"Token {self.token}", "Content-Type": "application/json"}
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"{self.address}{path}", body, headers, method=method)
        with urllib.request.urlopen(request, timeout=300) as answer:
            return bytes(answer.read())

    def tasks(self) -> dict[str, dict[str, Any]]:
        """By the names of their frames."""
        found = json.loads(self.call("GET", "/api/tasks?project=1&page_size=100&fields=all"))["tasks"]
        return {task["data"]["frame"]: task for task in found}

    def annotate(self, task: dict[str, Any], *results: dict[str, Any], **other: Any) -> None:
        self.call("POST", f"/api/tasks/{task['id']}/annotations/", {"result": list(results)} | other)


def run(folder: Path, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "training" / f"{script}.py"), *map(str, arguments)]
    environment = {"PATH": "", "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1", "COLUMNS": "140"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def server(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("round")
    index = write_rooms(folder / "rooms", train=8, validation=1) / "train.json"
    entries = json.loads(index.read_text())
    for entry in entries:
        (index.parent / entry.pop("label")).unlink()
    index.write_text(json.dumps(entries))
    done = run(folder, "select_frames", index, "--bundle", tiny_bundle, "--budget", 8, "--output", "to_label")
    assert done.returncode == 0, done.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = folder / "to_label/label_studio/start.sh"
    environment = os.environ | {"PORT": str(port), "LABEL_STUDIO": str(COMMAND)}
    with subprocess.Popen(
        [start], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as script:
        deadline = threading.Timer(1200, lambda: os.killpg(script.pid, signal.SIGKILL))
        deadline.start()
        try:
            assert script.stdout is not None
            told = ""
            for line in script.stdout:
                told += line
                if "log in as" in line:
                    break
            assert "8 tasks at" in told, told + (start.parent / "data/server.log").read_text()[-3000:]
            token = (start.parent / "data/login").read_text().split()[1]
            yield Server(folder, f"http://127.0.0.1:{port}", token)
            script.send_signal(signal.SIGTERM)
            assert script.wait(60) == 128 + signal.SIGTERM
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
        finally:
            deadline.cancel()
            if script.poll() is None:
                os.killpg(script.pid, signal.SIGKILL)


def region(kind: str, control: str, value: dict[str, Any], name: str) -> dict[str, Any]:
    size = {"original_width": SIZE[1], "original_height": SIZE[0], "image_rotation": 0}
    return {"id": name, "type": kind, "from_name": control, "to_name": "image", "value": value | {kind: [name]}} | size


def brush(rle: list[int], name: str) -> dict[str, Any]:
    return region("brushlabels", "label", {"format": "rle", "rle": rle}, name)


def packed_words(words: NDArray[np.uint8]) -> list[int]:
    """As a browser packs a canvas of many different pixels: word by word."""
    head = f"{words.size:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    bits = head + "011" + f"{words.size - 1:016b}" + "".join(f"{word:08b}" for word in words.ravel().tolist())
    bits += "0" * (-len(bits) % 8)
    return list(int(bits, 2).to_bytes(len(bits) // 8, "big"))


def soft_stroke() -> NDArray[np.uint8]:
    """(H, W, 4) of a stroke with a rim that fades, and a hole that was erased but for a trace."""
    alpha = np.zeros(SIZE, np.float32)
    cv2.line(alpha, (10, 50), (80, 12), 255, 12)
    alpha = cv2.GaussianBlur(alpha, (5, 5), 0)
    alpha[20:40, 40:50] = np.minimum(alpha[20:40, 40:50], 5)
    canvas = np.full((*SIZE, 4), 255, np.uint8)
    canvas[..., 3] = alpha
    return canvas


def test_what_was_drawn_is_labelled_pixel_by_pixel(server: Server) -> None:
    package = server.folder / "to_label"
    tasks = server.tasks()
    names = [frame["name"] for frame in json.loads((package / "selection.json").read_text())["frames"]]
    accepted, drawn, starred, doubted, skipped, empty, draft, untouched = names
    image = server.call("GET", tasks[drawn]["data"]["image"])
    assert image == next((package / "images").glob(f"{drawn}.*")).read_bytes()

    left = np.zeros(SIZE, np.bool_)
    left[:, :30] = True
    stroke = soft_stroke()
    triangle = region("polygonlabels", "polygon", {"points": POLYGON, "closed": True}, "floor")
    server.annotate(tasks[accepted], *tasks[accepted]["predictions"][0]["result"])
    server.annotate(tasks[drawn], brush(encode_brush(left), "wall"), triangle, brush(packed_words(stroke), "chair"))
    server.annotate(tasks[starred], brush(encode_brush(left), "floor"), ground_truth=True)
    server.annotate(tasks[starred], brush(encode_brush(~left), "floor"))
    server.annotate(tasks[doubted], brush(encode_brush(left), "wall"))
    server.annotate(tasks[doubted], brush(encode_brush(np.roll(left, 10, axis=1)), "wall"))
    server.annotate(tasks[skipped], was_cancelled=True)
    server.annotate(tasks[empty])
    draft_result = {"result": [brush(encode_brush(left), "wall")]}
    server.call("POST", f"/api/tasks/{tasks[draft]['id']}/drafts", draft_result)

    export = ["to_label/label_studio/start.sh", "export", "labels.json"]
    told = subprocess.run(export, cwd=server.folder, check=True, capture_output=True, text=True, timeout=600).stdout
    assert told == "start.sh: 8 tasks written to labels.json\n"
    options = ("rooms/train.json", "labels.json", "--selection", "to_label")
    done = run(server.folder, "import_labels", *options, "--status")
    assert done.returncode == 0, done.stderr
    assert "8 selected: 4 labelled, 1 draft, 1 empty, 1 skipped, 1 untouched" in done.stdout
    states = {
        cells[0]: cells[1]
        for cells in (line.replace(" ", "").split("│")[1:] for line in done.stdout.split("\n"))
        if cells
    }
    assert [states[name] for name in (skipped, empty, draft, untouched)] == ["skipped", "empty", "draft", "untouched"]
    done = run(server.folder, "import_labels", *options)
    assert done.returncode == 1
    assert done.stderr.count(" by annotator@localhost of ") == 2
    assert f"{doubted}: task {tasks[doubted]['id']} has 2 annotations" in done.stderr
    assert "they agree in 50.0% of the pixels that any of them labels" in done.stderr
    done = run(server.folder, "import_labels", *options, "--annotator", "annotator@localhost")
    assert done.returncode == 0, done.stderr
    missing = ", ".join(name for name in names if name in (skipped, empty, draft, untouched))
    assert done.stdout.splitlines()[-1] == f"4 of the 8 selected have no label: {missing}"

    expected = {name: np.full(SIZE, 255, np.uint8) for name in (drawn, starred, doubted)}
    expected[drawn][left] = WALL
    corners = [(x * SIZE[1] / 100, y * SIZE[0] / 100) for x, y in POLYGON]
    expected[drawn][polygon_pixels(corners, SIZE)] = FLOOR
    expected[drawn][stroke[..., 3] >= 128] = CHAIR
    expected[starred][left] = FLOOR
    expected[doubted][np.roll(left, 10, axis=1)] = WALL
    values = decode_mask((package / f"masks/{accepted}.png").read_bytes(), accepted).values
    assert values is not None
    expected[accepted] = values
    for name, ids in expected.items():
        label = read_image(server.folder / f"rooms/label/{name.rpartition('__')[2]}.png", "label")
        np.testing.assert_array_equal(label, ids, err_msg=name)


@pytest.mark.parametrize("kind", ["JSON_MIN", "BRUSH_TO_PNG", "BRUSH_TO_NUMPY", "BRUSH_TO_COCO", "COCO", "YOLO", "CSV"])
def test_every_other_export_is_refused_by_its_name(server: Server, kind: str) -> None:
    exported = server.call("GET", f"/api/projects/1/export?exportType={kind}")
    suffix = {"JSON_MIN": "json", "CSV": "csv"}.get(kind, "zip")
    path = server.folder / f"{kind}.{suffix}"
    path.write_bytes(exported)
    done = run(server.folder, "import_labels", "rooms/train.json", path, "--selection", "to_label")
    assert done.returncode == 1
    assert "which is not read here" in done.stderr and 'export the project as "JSON"' in done.stderr


def test_the_page_tells_nobody(server: Server) -> None:
    """As told to a browser that comes to log in, by whose word its pages go."""
    page = server.call("GET", "/user/login/").decode()
    assert "collect_analytics = false" in page
    assert "sentry" not in page
