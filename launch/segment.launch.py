"""Start segment_node and activate it: ``ros2 launch m3l_ros segment.launch.py camera:=realsense``.

A node that gives up, such as over a parameter it cannot use, ends the launch with a non-zero status and its reason.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessExit, OnProcessIO
from launch.events.process import ProcessExited, ProcessIO
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

# share/m3l_ros when installed, the repository otherwise: both have launch/ and config/ side by side.
SHARE = Path(__file__).parent.parent
CAMERAS = SHARE / "config" / "cameras"
BOOL = ["true", "false", "True", "False"]


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node, and what ends the launch if it gives up."""
    try:
        from m3l_core.camera_presets import load_camera_preset
        from m3l_core.files import home_expanded
    except ImportError as error:
        raise RuntimeError(
            f"{error}. What the node needs is installed by: ros2 run m3l_ros install_packages"
        ) from error

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    params_file = home_expanded(value("params_file"))
    if not params_file.is_file():
        raise RuntimeError(f"params_file: there is no file {params_file}")
    overrides: dict[str, bool | int | float | str] = {}
    remappings: list[tuple[str, str]] = []
    if value("camera"):
        preset = load_camera_preset(CAMERAS, value("camera"))
        overrides.update(preset.parameters)
        remappings = list(preset.remappings.items())
    overrides.update({name: value(name) for name in ("bundle", "engine") if value(name)})
    overrides.update({name: value(name).lower() == "true" for name in ("autostart", "use_sim_time")})

    node = Node(
        package="m3l_ros",
        executable="segment_node",
        name="segment_node",
        namespace=value("namespace"),
        parameters=[
            str(params_file),
            # Typed, or launch would read the text "off" or "12" as something else.
            {name: ParameterValue(item, value_type=type(item)) for name, item in overrides.items()},
        ],
        remappings=remappings,
        arguments=["--ros-args", "--log-level", value("log_level")],
        output="screen",
        emulate_tty=True,
        respawn=False,
    )
    last_words: list[str] = []

    def listen(event: ProcessIO) -> None:
        last_words[:] = event.text.decode(errors="replace").strip().splitlines()[-1:] or last_words

    def end(event: ProcessExited, context: LaunchContext) -> None:
        # Below 0: killed by a signal, and launch has said so. Whatever else was launched goes on.
        if event.returncode > 0:
            raise RuntimeError("".join(last_words) or f"segment_node ended with status {event.returncode}")

    return [
        RegisterEventHandler(OnProcessIO(target_action=node, on_stdout=listen, on_stderr=listen)),
        RegisterEventHandler(OnProcessExit(target_action=node, on_exit=end)),
        node,
    ]


def camera_names() -> str:
    return ", ".join(sorted(path.stem for path in CAMERAS.glob("*.yaml")))


def generate_launch_description() -> LaunchDescription:
    """Called by ``ros2 launch``."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "params_file",
                default_value=str(SHARE / "config" / "segment.yaml"),
                description="Parameters of the node",
            ),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of node and topics"),
            DeclareLaunchArgument("use_sim_time", default_value="false", choices=BOOL, description="Follow /clock"),
            DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn, error"),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                choices=BOOL,
                description="Configure and activate the node; false leaves it unconfigured",
            ),
            DeclareLaunchArgument("engine", default_value="", description="Inference engine; empty: as in params_file"),
            DeclareLaunchArgument(
                "bundle", default_value="", description="Folder of a model bundle; empty: as in params_file"
            ),
            DeclareLaunchArgument(
                "camera",
                default_value="",
                description=f"Topics and parameters of a camera's driver: {camera_names()}, "
                "or the path of a YAML file like those in config/cameras; empty: none",
            ),
            OpaqueFunction(function=start),
        ]
    )
