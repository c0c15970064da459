"""A managed node: color and depth in, label images out, whatever drops."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, State, TransitionCallbackReturn

from m3l_core.bundle import ModelBundle
from m3l_core.engines.engine import Engine, load_engine
from m3l_core.errors import BundleError, M3LError
from m3l_core.segmenter import Segmenter
from m3l_core.shipped import shipped_bundle
from m3l_ros.diagnostics import diagnostic_array, pipeline_status
from m3l_ros.labelling_session import MODALITIES, LabellingSession
from m3l_ros.log_bridge import bridge_logging, unbridge_logging
from m3l_ros.parameters import declare_parameters, value
from m3l_ros.publishers import SegmentationPublishers


class SegmentNode(LifecycleNode):
    """configure loads the engine, activate subscribes, deactivate unsubscribes, cleanup frees the engine.

    Args:
        engine_loader: how to get an engine for a bundle, called like ``load_engine``.
    """

    def __init__(self, engine_loader: Callable[..., Engine] = load_engine, **kwargs: Any) -> None:
        super().__init__("segment_node", **kwargs)
        declare_parameters(self)
        self._log_bridge = bridge_logging(self.get_logger())
        self._engine_loader = engine_loader
        self._segmenter: Segmenter | None = None
        self._outputs: SegmentationPublishers | None = None
        self._session: LabellingSession | None = None
        self._problem = ""
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._diagnostics_timer = self.create_timer(value(self, "diagnostics_period"), self._publish_diagnostics)

    def on_configure(self, state: State) -> TransitionCallbackReturn:
        """Load the bundle and its engine; nothing is half configured if that fails."""
        return self._attempt("be configured", self._configure)

    def on_activate(self, state: State) -> TransitionCallbackReturn:
        """Subscribe and begin to label."""
        super().on_activate(state)
        result = self._attempt("be activated", self._activate)
        if result != TransitionCallbackReturn.SUCCESS:
            super().on_deactivate(state)
        return result

    def on_deactivate(self, state: State) -> TransitionCallbackReturn:
        """Unsubscribe, after the frame set that is being labelled."""
        self._end_session()
        return super().on_deactivate(state)

    def on_cleanup(self, state: State) -> TransitionCallbackReturn:
        """Free the engine."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: State) -> TransitionCallbackReturn:
        """Free everything, from any state."""
        self._end_session()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """End the worker before the publishers go."""
        self._end_session()
        unbridge_logging(self._log_bridge)
        super().destroy_node()

    def _LifecycleNodeMixin__on_change_state(self, request: Any, response: Any) -> Any:
        # rclpy's own lets a transition that the present state does not have end the process.
        try:
            return super()._LifecycleNodeMixin__on_change_state(request, response)
        except Exception as error:
            self.get_logger().error(f"transition refused: {error}")
            response.success = False
            return response

    def _attempt(self, what: str, step: Callable[[], None]) -> TransitionCallbackReturn:
        """Take a step of a transition and tell what it raises: rclpy would swallow that."""
        try:
            step()
        except Exception as error:
            self._problem = str(error) if isinstance(error, M3LError) else f"{type(error).__name__}: {error}"
            self.get_logger().error(f"cannot {what}: {self._problem}")
            return TransitionCallbackReturn.FAILURE
        self._problem = ""
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        bundle = ModelBundle.load(value(self, "bundle") or shipped_bundle())
        if bundle.description.modality_names != MODALITIES:
            raise BundleError(
                f"{bundle.folder} is for {', '.join(bundle.description.modality_names)}; "
                f"this node has {', '.join(MODALITIES)}"
            )
        options = (value(self, name) for name in ("engine", "precision", "num_threads"))
        engine = self._engine_loader(bundle, *options)
        self._outputs = SegmentationPublishers(self, bundle.description.labels)
        self._segmenter = Segmenter(bundle.description, engine)
        self._diagnostics_timer.timer_period_ns = round(value(self, "diagnostics_period") * 1e9)
        used = f"{engine.name} {engine.precision} on {engine.device}"
        self.get_logger().info(f"{bundle.description.name} from {bundle.folder}: {used}")

    def _activate(self) -> None:
        assert self._segmenter is not None and self._outputs is not None
        self._outputs.publish_label_info()
        self._session = LabellingSession(self, self._segmenter, self._outputs)

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _release(self) -> None:
        if self._outputs is not None:
            self._outputs.destroy()
        self._outputs = self._segmenter = None

    def _publish_diagnostics(self) -> None:
        segmenter, session = self._segmenter, self._session
        statuses: list[DiagnosticStatus] = []
        values: dict[str, Any] = {}
        problem = self._problem
        if segmenter is not None:
            engine = segmenter.engine
            values = {
                "bundle": segmenter.description.name,
                "engine": engine.name,
                "precision": engine.precision,
                "device": engine.device,
            }
        if session is not None:
            statuses, accounts = session.describe()
            values |= accounts
            problem = problem or session.problem
        statuses.append(pipeline_status(self.get_name(), session is not None, values, problem))
        self._diagnostics.publish(diagnostic_array(self.get_clock().now().to_msg(), statuses))


def spin(node: SegmentNode) -> None:
    """Run a node until it is told to stop, then take it down without a second signal getting in between."""
    try:
        if value(node, "autostart") and node.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            node.trigger_activate()
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        # SIGTERM ends the context in another thread, wherever the executor is at that moment.
        if rclpy.ok():
            raise
    finally:
        # `ros2 launch` sends Ctrl-C twice: once from the terminal, once itself.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        node.destroy_node()
        rclpy.try_shutdown()
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``ros2 run m3l_ros segment_node``."""
    try:
        rclpy.init(args=argv)
        node = SegmentNode()
    except KeyboardInterrupt:
        rclpy.try_shutdown()
    except ParameterException as error:
        rclpy.try_shutdown()
        sys.exit(f"segment_node: {error}")
    else:
        spin(node)


if __name__ == "__main__":
    main()
