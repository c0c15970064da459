"""A managed node: the images of a bundle's sensors in, label images out, whatever drops."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

if __name__ == "__main__":  # the imports below take a second
    from m3l_ros.process_end import leave_at_once_on_signals

    leave_at_once_on_signals()

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, State, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions, uninstall_signal_handlers

from m3l_core.bundle import ModelBundle
from m3l_core.engines.engine import Engine, load_engine
from m3l_core.errors import BundleError, M3LError
from m3l_core.segmenter import Segmenter
from m3l_core.shipped import shipped_bundle
from m3l_core.streaming.color_conversion import converter_problem
from m3l_ros.diagnostics import diagnostic_array, pipeline_status
from m3l_ros.labelling_session import LabellingSession, SessionAccount
from m3l_ros.log_bridge import EventLog, bridge_logging, unbridge_logging
from m3l_ros.manager_bond import ManagerBond
from m3l_ros.output_settings import unknown_classes
from m3l_ros.parameters import NodeParameters, output_settings, value
from m3l_ros.process_end import StopRequest, ignore_further_signals
from m3l_ros.publishers import SegmentationPublishers
from m3l_ros.sensor_inputs import check_names


class SegmentNode(LifecycleNode):
    """configure loads the engine, activate subscribes, deactivate unsubscribes, cleanup frees the engine.

    Args:
        engine_loader: how to get an engine for a bundle, called like ``load_engine``.
    """

    def __init__(self, engine_loader: Callable[..., Engine] = load_engine, **kwargs: Any) -> None:
        super().__init__("segment_node", **kwargs)
        self._session: LabellingSession | None = None
        self._own_parameters = NodeParameters(self, lambda: self._session is not None)
        self._tell_unknown_parameters(configured=False)
        self._log_bridge = bridge_logging(self.get_logger())
        self._event_log = EventLog(self.get_logger())
        self._engine_loader = engine_loader
        self._segmenter: Segmenter | None = None
        self._outputs: SegmentationPublishers | None = None
        self._bond = ManagerBond(self)
        self._problem = ""
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._diagnostics_timer = self.create_timer(
            value(self, "diagnostics_period"),
            self._publish_diagnostics,
            clock=Clock(clock_type=ClockType.STEADY_TIME),  # /clock may stand
        )

        self.add_post_set_parameters_callback(self._apply)
        for service in self.services:
            service.callback = partial(self._answer, service.callback)

    def start(self) -> None:
        """Do what ``autostart`` says, or tell what to do instead."""
        if not value(self, "autostart"):
            name = self.get_fully_qualified_name()
            self.get_logger().info(
                f"unconfigured, as autostart is false: ros2 lifecycle set {name} configure, "
                f"then ros2 lifecycle set {name} activate"
            )
        elif self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

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

    def _answer(self, callback: Callable[[Any, Any], Any], request: Any, response: Any) -> Any:
        """What a service says; rclpy's own let an odd request, of anybody, end the process."""
        try:
            return callback(request, response)
        except Exception as error:
            self.get_logger().error(f"{type(request).__qualname__.partition('_')[0]} refused: {error}")
            return response

    def _apply(self, parameters: list[Parameter]) -> None:
        """Let new values take effect."""
        if "diagnostics_period" in {parameter.name for parameter in parameters}:
            self._diagnostics_timer.timer_period_ns = round(value(self, "diagnostics_period") * 1e9)
            self._diagnostics_timer.reset()  # or the former period would run to its end
        if self._session is not None:
            self._session.apply_parameters()

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
        check_names(bundle.description.modality_names)
        self._own_parameters.declare_sensors(bundle.description.modalities)
        self._tell_unknown_parameters(configured=True)
        names = bundle.description.labels.names
        if problem := unknown_classes(output_settings(self).classes_of_interest, names):
            raise BundleError(f"classes_of_interest: {problem}")
        if problem := converter_problem():
            self.get_logger().warning(f"color in those encodings will count as missing: {problem}")
        options = (value(self, name) for name in ("engine", "precision", "num_threads"))
        engine = self._engine_loader(bundle, *options)
        self._outputs = SegmentationPublishers(self, bundle.description)
        self._segmenter = Segmenter(bundle.description, engine)
        self._event_log = EventLog(self.get_logger())  # what was told before may be told again
        self._own_parameters.class_names = names
        used = f"{engine.name} {engine.precision} on {engine.device}"
        self.get_logger().info(f"{bundle.description.name} from {bundle.folder}: {used}")

    def _tell_unknown_parameters(self, configured: bool) -> None:
        for line in self._own_parameters.unknown(configured):
            self.get_logger().warning(line)

    def _activate(self) -> None:
        assert self._segmenter is not None and self._outputs is not None
        # rclpy's groups keep a reference to every subscription and timer that they ever had.
        group = self.default_callback_group
        group.entities = {reference for reference in group.entities if reference() is not None}
        self._outputs.publish_label_info(output_settings(self))
        self._session = LabellingSession(self, self._segmenter, self._outputs, self._event_log)
        self._bond.begin(value(self, "bond_heartbeat_period"))

    def _end_session(self) -> None:
        self._bond.end()
        if self._session is not None:
            self._session.close()
            self._session = None
            # Its callbacks and it refer to each other, so that its images would wait for Python's collector, for hours.
            gc.collect()

    def _release(self) -> None:
        if self._outputs is not None:
            self._outputs.destroy()
        self._outputs = self._segmenter = None
        self._own_parameters.class_names = ()

    def _publish_diagnostics(self) -> None:
        segmenter, session = self._segmenter, self._session
        account = SessionAccount([], {}, [], "")
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
            account = session.describe()
            values |= account.values
            problem = problem or session.problem
        lost = (account.lost, len(account.statuses))
        name = self.get_fully_qualified_name()
        whole = pipeline_status(name, session is not None, lost, values, problem, account.warning)
        self._diagnostics.publish(diagnostic_array(self.get_clock().now().to_msg(), [*account.statuses, whole]))


def spin(node: SegmentNode, stop: StopRequest | None = None) -> None:
    """Run a node until SIGINT or SIGTERM, then take it down.

    Args:
        stop: what the main thread waits for, where it was made before the node.
    """
    # rclpy's handlers would shut the context down at once, under the hands of the worker that labels.
    uninstall_signal_handlers()
    stop = stop or StopRequest()
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    stopping = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            node.start()
            while not stopping.is_set():
                executor.spin_once()
        except ExternalShutdownException:
            pass
        except BaseException as failure:
            failures.append(failure)
        finally:
            stop.set(len(failures))

    thread = threading.Thread(target=work, name="executor", daemon=True)
    thread.start()
    patience = stop.wait()
    stopping.set()
    executor.create_task(lambda: None)  # wakes it; to shut it down while it spins may raise there
    thread.join()
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown(context=node.context)
    patience.cancel()
    ignore_further_signals()
    for failure in failures:
        raise failure


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``ros2 run m3l_ros segment_node``."""
    stop = StopRequest()
    try:
        rclpy.init(args=argv, signal_handler_options=SignalHandlerOptions.NO)
        node = SegmentNode()
    except Exception as error:  # rcl's of arguments and parameter files, rclpy's of parameters: the text says it all
        rclpy.try_shutdown()
        sys.exit("segment_node: " + " ".join(str(error).split()))
    spin(node, stop)


if __name__ == "__main__":
    main()
