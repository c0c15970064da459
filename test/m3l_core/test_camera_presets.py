from pathlib import Path

import pytest

from m3l_core.camera_presets import CameraPresetError, camera_names, load_camera_preset

SHIPPED = Path(__file__).parents[2] / "config" / "cameras"
INPUTS = {"color/image_raw", "depth/image_rect", "color/camera_info"}


@pytest.mark.parametrize("camera", ["oak", "realsense", "sample_recording", "zed"])
def test_a_shipped_preset_remaps_every_input_to_an_absolute_topic(camera: str) -> None:
    preset = load_camera_preset(SHIPPED, camera)
    assert set(preset.remappings) == INPUTS
    assert all(topic.startswith("/") for topic in preset.remappings.values())


def test_the_shipped_cameras_are_listed() -> None:
    assert camera_names(SHIPPED) == ["oak", "realsense", "sample_recording", "zed"]


def test_parameters_keep_their_types(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "remappings: {color/image_raw: /mine/color}\n"
        "parameters: {image_transport: compressed, sync_queue_size: 4, sync_timeout: 0.1, autostart: true}\n"
    )
    parameters = load_camera_preset(tmp_path, "mine").parameters
    assert parameters == {
        "image_transport": "compressed",
        "sync_queue_size": 4,
        "sync_timeout": 0.1,
        "autostart": True,
    }
    assert [type(value) for value in parameters.values()] == [str, int, float, bool]


def test_parameters_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("remappings: {color/image_raw: /mine/color}\n")
    assert load_camera_preset(tmp_path, "mine").parameters == {}


def test_an_unknown_camera_lists_those_there_are() -> None:
    with pytest.raises(CameraPresetError, match=r"'kinect'.*oak, realsense, sample_recording, zed"):
        load_camera_preset(SHIPPED, "kinect")


@pytest.mark.parametrize("name", ["mine.yaml", "folder/mine.yaml", "folder/mine"])
def test_a_camera_may_be_the_path_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    for camera in (name, str(tmp_path / name)):
        with pytest.raises(CameraPresetError, match=rf"no camera preset \S*{name}"):
            load_camera_preset(SHIPPED, camera)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("remappings: {color/image_raw: /mine/color}\n")
    for camera in (name, str(tmp_path / name)):
        assert load_camera_preset(SHIPPED, camera).remappings == {"color/image_raw": "/mine/color"}


def test_no_camera_is_no_name() -> None:
    with pytest.raises(CameraPresetError, match="No preset for the camera ''"):
        load_camera_preset(SHIPPED, "")


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(CameraPresetError, match="no preset at all"):
        load_camera_preset(tmp_path, "oak")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "the file"),
        ("[1, 2]", "the file"),
        ("remappings: {}", "remappings"),
        ("parameters: {engine: torch}", "remappings: it is missing"),
        ("remappings: {color/image_raw: 3}", "remappings.color/image_raw"),
        ("remappings: {color/image_raw: 'two words'}", "remappings.color/image_raw"),
        (
            "remappings: {a: /b}\nremapings: {c: /d}",
            "remapings: unknown key (for remappings?), expected one of: remappings, parameters",
        ),
        ("remappings: {a: /b}\nparameters: {stamp_offset: {color: 0.1}}", "parameters.stamp_offset"),
        ("remappings: {a: /b", "not valid YAML"),
    ],
)
def test_a_broken_preset_is_refused_with_its_path_and_fault(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(CameraPresetError) as caught:
        load_camera_preset(tmp_path, "mine")
    assert str(tmp_path / "mine.yaml") in str(caught.value)
    assert fault in str(caught.value)


def test_a_home_that_there_is_not_is_told(tmp_path: Path) -> None:
    with pytest.raises(CameraPresetError, match=r"There is no camera preset ~nouser/camera\.yaml"):
        load_camera_preset(tmp_path, "~nouser/camera.yaml")
