"""What annotators get, read back from every file that a tool may take."""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.annotations import LABELS, Mask, read_all, unzip
from support.rooms import SIZE, read_rooms, write_rooms

from m3l_core.annotation.frame_list import file_hash
from m3l_core.annotation.frame_names import frame_names, picture
from m3l_core.annotation.manifest import SelectedFrame, Selection, places_of, read_selection
from m3l_core.annotation.package import write_package
from m3l_core.datasets.folder import Sample, read_image
from m3l_core.errors import DatasetError
from m3l_core.false_color import false_color
from m3l_core.modalities import ColorModality, DepthModality

MODALITIES = (ColorModality(), DepthModality())


@pytest.fixture
def rooms(tmp_path: Path) -> list[Sample]:
    """Three frames, the last one without color."""
    samples, _ = read_rooms(write_rooms(tmp_path / "rooms", train=3, validation=1))
    return [*samples[:2], Sample({"depth": samples[2].images["depth"]}, None, "dark room")]


def labels_of(sample: Sample) -> Mask:
    ids = np.full(SIZE, sample.recording == "dark room", np.uint8)
    ids[:, 10:20], ids[:, 20:30] = 3, 255
    return ids


def package(samples: list[Sample], folder: Path, labeller: Callable[[Sample], Mask] | None, *url: str) -> Selection:
    selection = Selection(
        index="train.json",
        modalities=("color", "depth"),
        strategy="random",
        seed=0,
        bundle="tiny 0123" if labeller else None,
        labels=LABELS,
        frames=tuple(
            SelectedFrame(
                name=name,
                picture=picture(sample).relative_to(folder.parent / "rooms").as_posix(),
                recording=sample.recording,
                stamp_ns=None,
                sha256=file_hash(picture(sample)),
                score=0.5,
            )
            for name, sample in zip(frame_names(samples), samples, strict=True)
        ),
    )
    write_package(folder, selection, samples, MODALITIES, labeller, *url)
    return selection


def test_every_tool_gets_the_same_labels(rooms: list[Sample], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    selection = package(rooms, folder, labels_of)
    assert read_selection(folder) == read_selection(folder / "selection.json") == selection
    tasks = json.loads((folder / "label_studio/tasks.json").read_text())
    for each in tasks:
        (prediction,) = each["predictions"]
        assert prediction["model_version"] == "tiny 0123"
        each["annotations"] = [prediction]
    (tmp_path / "submitted.json").write_text(json.dumps(tasks))
    for export in (
        "out/masks",
        "out/coco.json",
        "out/annotations/instances_default.json",
        "out/cvat/segmentation_mask.zip",
        "submitted.json",
    ):
        found = read_all(tmp_path / export)
        assert set(found) == {frame.name for frame in selection.frames}
        for frame, sample in zip(selection.frames, rooms, strict=True):
            np.testing.assert_array_equal(found[frame.name], labels_of(sample), err_msg=export)


def test_the_images_are_those_of_the_index(rooms: list[Sample], tmp_path: Path) -> None:
    selection = package(rooms, tmp_path / "out", None)
    images = tmp_path / "out/images"
    assert [file.name for file in sorted(images.iterdir())] == [
        "dark_room__train_2.png",
        "train_0__train_0.jpg",
        "train_0__train_1.jpg",
    ]
    assert (images / "train_0__train_1.jpg").read_bytes() == rooms[1].images["color"].read_bytes()
    shown = read_image(images / "dark_room__train_2.png", "color")
    depth = read_image(rooms[2].images["depth"], "depth")
    np.testing.assert_array_equal(shown, false_color(MODALITIES[1], depth))
    tasks = json.loads((tmp_path / "out/label_studio/tasks.json").read_text())
    assert tasks[0] == {
        "data": {"image": "/data/local-files/?d=images/train_0__train_0.jpg", "frame": selection.frames[0].name}
    }
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"images", "cvat", "label_studio", "selection.json"}
    assert {file.name for file in (tmp_path / "out/cvat").iterdir()} == {"labels.json"}


@pytest.mark.parametrize(
    ("url", "image"),
    [
        ("https://host/images", "https://host/images/train_0__train_0.jpg"),
        ("https://host/images/", "https://host/images/train_0__train_0.jpg"),
        ("/data/local-files/?d=", "/data/local-files/?d=train_0__train_0.jpg"),
    ],
)
def test_a_file_name_follows_the_url(rooms: list[Sample], tmp_path: Path, url: str, image: str) -> None:
    package(rooms[:1], tmp_path / "out", None, url)
    (task,) = json.loads((tmp_path / "out/label_studio/tasks.json").read_text())
    assert task["data"]["image"] == image


def test_tools_know_the_classes_and_their_colors(rooms: list[Sample], tmp_path: Path) -> None:
    package(rooms, tmp_path / "out", labels_of)
    raw = json.loads((tmp_path / "out/cvat/labels.json").read_text())
    assert [entry["name"] for entry in raw] == list(LABELS.names)
    assert raw[1] == {"name": "wall", "color": "#090807", "attributes": []}
    config = ElementTree.parse(tmp_path / "out/label_studio/config.xml").getroot()
    for tag in ("BrushLabels", "PolygonLabels"):
        control = config.find(tag)
        assert control is not None and control.get("toName") == "image"
        assert [label.get("value") for label in control] == list(LABELS.names)
        assert [label.get("background") for label in control] == [entry["color"] for entry in raw]
    listed = unzip(tmp_path / "out/cvat/segmentation_mask.zip")["labelmap.txt"].decode().splitlines()
    assert listed[:3] == ["# label:color_rgb:parts:actions", "background:0,0,0::", "floor:0,128,0::"]


def test_cvat_gets_objects_where_a_class_is_and_none_elsewhere(rooms: list[Sample], tmp_path: Path) -> None:
    package(rooms, tmp_path / "out", labels_of)
    files = unzip(tmp_path / "out/cvat/segmentation_mask.zip")
    assert files["ImageSets/Segmentation/default.txt"].decode().split()[0] == "train_0__train_0"
    for folder in ("SegmentationClass", "SegmentationObject"):
        image = cv2.imdecode(np.frombuffer(files[f"{folder}/train_0__train_0.png"], np.uint8), cv2.IMREAD_UNCHANGED)
        assert image.shape == (*SIZE, 3)
        np.testing.assert_array_equal((image == 0).all(axis=2), labels_of(rooms[0]) == 255)


def test_what_is_in_the_folder_is_kept(rooms: list[Sample], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("work")
    with pytest.raises(DatasetError, match="holds something already"):
        package(rooms, tmp_path / "out", labels_of)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_failure_leaves_no_folder(rooms: list[Sample], tmp_path: Path) -> None:
    def fail(sample: Sample) -> Mask:
        raise DatasetError("no more")

    with pytest.raises(DatasetError, match="no more"):
        package(rooms, tmp_path / "out", fail)
    assert not (tmp_path / "out").exists()


def test_another_image_in_the_place_of_the_one_that_was_handed_out_is_noticed(
    rooms: list[Sample], tmp_path: Path
) -> None:
    selection = package(rooms, tmp_path / "out", None)
    index = tmp_path / "rooms/train.json"
    assert places_of(selection, rooms, index) == {frame.name: place for place, frame in enumerate(selection.frames)}
    with pytest.raises(DatasetError, match=r"has no frame with .*train_0\.jpg, which was selected as train_0__train_0"):
        places_of(selection, rooms[1:], index)
    picture(rooms[1]).write_bytes(picture(rooms[0]).read_bytes())
    with pytest.raises(DatasetError, match="is another image than was selected as train_0__train_1"):
        places_of(selection, rooms, index)


def test_a_manifest_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "selection.json").write_text('{"format": 2}')
    with pytest.raises(DatasetError, match=r"selection\.json cannot be read as what training/select_frames\.py writes"):
        read_selection(tmp_path)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_selection(tmp_path / "none")


def test_label_studio_s_script_says_what_it_lacks(rooms: list[Sample], tmp_path: Path) -> None:
    """test/training/test_label_studio_round.py runs it with the real one."""
    package(rooms, tmp_path / "out", None)
    start = tmp_path / "out/label_studio/start.sh"
    environment = {"PATH": os.environ["PATH"], "LABEL_STUDIO": "no-such-label-studio"}
    for arguments, status, told in (
        ([], 1, "there is no no-such-label-studio: install it in an environment of its own"),
        (["export", "labels.json"], 1, "nothing was labelled here yet: run label_studio/start.sh first"),
        (["export"], 2, "expected nothing, or: export FILE.json"),
    ):
        done = subprocess.run([start, *arguments], env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.startswith(f"start.sh: {told}")) == (status, True), done.stderr
    named = environment | {"PORT": "tcp://10.0.0.1:8080"}
    done = subprocess.run([start], env=named, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "start.sh: PORT is tcp://10.0.0.1:8080, expected a number\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (start.parent / "data").mkdir()
    (start.parent / "data/login").write_text("password\ntoken\n")
    command = [start, "export", "labels.json"]
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as proxy:
        threading.Thread(target=proxy.serve_forever).start()
        environment |= {"PORT": str(port), "http_proxy": f"http://127.0.0.1:{proxy.server_port}"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
        proxy.shutdown()
    assert done.returncode == 1 and f"http://127.0.0.1:{port} does not answer" in done.stderr
    assert not (tmp_path / "labels.json").exists()


def test_label_studio_is_started_whatever_folders_and_passwords_look_like(rooms: list[Sample], tmp_path: Path) -> None:
    folder = tmp_path / "my labels"
    package(rooms, folder, None)
    (folder / "label_studio/data").mkdir()
    (folder / "label_studio/data/login").write_text("-word\ntoken\n")
    command = tmp_path / "label studio"
    command.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    command.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {"PATH": os.environ["PATH"], "LABEL_STUDIO": str(command), "PORT": port, "CDPATH": str(tmp_path)}
    start = "my labels/label_studio/start.sh"
    done = subprocess.run([start], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, "Label Studio has ended" in done.stderr) == (1, True), done.stderr
    parser = argparse.ArgumentParser()  # which is what Label Studio reads them with
    parser.add_argument("--password")
    parser.add_argument("--data-dir", type=Path)
    options, _ = parser.parse_known_args((folder / "label_studio/data/server.log").read_text().splitlines())
    assert (options.password, options.data_dir) == ("-word", folder / "label_studio/data")
