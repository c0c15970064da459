"""Start segment_node and activate it: ``ros2 launch m3l_ros segment.launch.py camera:=realsense``."""

from pathlib import Path

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

from m3l_core.camera_presets import camera_names, load_camera_preset

# share/m3l_ros when installed, the repository otherwise: both have launch/ and config/ side by side.
SHARE = Path(__file__).parent.parent
CAMERAS = SHARE / "config" / "cameras"
BOOL = ["true", "false", "True", "False"]


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node, and the events that activate it."""

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    overrides: dict[str, bool | int | float | str] = {}
    remappings: list[tuple[str, str]] = []
    if value("camera"):
        preset = load_camera_preset(CAMERAS, value("camera"))
        overrides.update(preset.parameters)
        remappings = list(preset.remappings.items())
    overrides.update({name: value(name) for name in ("bundle", "engine") if value(name)})
    # The events below activate the node; it must not do so as well.
    overrides.update(autostart=False, use_sim_time=_is_true(value("use_sim_time")))

    node = LifecycleNode(
        package="m3l_ros",
        executable="segment_node",
        name="segment_node",
        namespace=value("namespace"),
        parameters=[
            value("params_file"),
            # Typed, or launch would read the text "off" or "12" as something else.
            {name: ParameterValue(item, value_type=type(item)) for name, item in overrides.items()},
        ],
        remappings=remappings,
        arguments=["--ros-args", "--log-level", value("log_level")],
        output="screen",
        emulate_tty=True,
        respawn=False,
    )
    if not _is_true(value("autostart")):
        return [node]
    activate_once_configured = RegisterEventHandler(
        OnStateTransition(
            target_lifecycle_node=node,
            # Not every way into "inactive": a node that somebody deactivates stays so.
            start_state="configuring",
            goal_state="inactive",
            entities=[_transition(node, Transition.TRANSITION_ACTIVATE)],
        )
    )
    return [activate_once_configured, node, _transition(node, Transition.TRANSITION_CONFIGURE)]


def _is_true(text: str) -> bool:
    return text.lower() == "true"


def _transition(node: LifecycleNode, transition_id: int) -> EmitEvent:
    return EmitEvent(event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition_id))


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
                choices=["", *camera_names(CAMERAS)],
                description="Topics and parameters of a camera's driver; empty: none",
            ),
            OpaqueFunction(function=start),
        ]
    )
