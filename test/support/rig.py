"""The real node and a driver on a domain of their own."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter
from support.dds_domain import own_domain
from support.driver import Driver
from support.python_path import python_path

from m3l_core.engines.engine import Engine, load_engine
from m3l_ros.segment_node import SegmentNode

ROOT = Path(__file__).parents[2]
CALM = {
    # On a busy machine two messages sent together may arrive far apart; tests of these waits set their own.
    "sync_timeout": 1.0,
    "sensor_timeout": 30.0,
    "diagnostics_period": 0.1,
    # Not auto: importing every engine takes long there.
    "engine": next((name for name in ("onnxruntime", "openvino") if find_spec(name)), "auto"),
    "precision": "fp32",
    "num_threads": 1,
}


class Rig:
    """SegmentNode in this process, in a context and a thread of its own.

    One at a time: rcl loses the /rosout of a node whose name a second one of the same process has.
    """

    def __init__(
        self,
        bundle: Path | str,
        parameters: dict[str, Any] | None = None,
        engine_loader: Callable[..., Engine] = load_engine,
        cli_args: Sequence[str] = (),
        active: bool = True,
    ) -> None:
        self._error = ""
        self._stack = ExitStack()
        domain_id = self._stack.enter_context(own_domain())
        self.driver = Driver(domain_id, self._check)
        self._stack.callback(self.driver.close)
        context = Context()
        rclpy.init(context=context, domain_id=domain_id)
        self._stack.callback(rclpy.try_shutdown, context=context)
        overrides = {"bundle": str(bundle), **CALM, **(parameters or {})}
        try:
            self.node = SegmentNode(
                engine_loader,
                context=context,
                cli_args=list(cli_args),
                parameter_overrides=[Parameter(name, value=value) for name, value in overrides.items()],
            )
            self._stack.callback(self._destroy)
            self._executor = SingleThreadedExecutor(context=context)
            self._stopping = threading.Event()
            self._executor.add_node(self.node)
            self._thread = threading.Thread(target=self._spin, name="segment_node", daemon=True)
            self._thread.start()
            self._stack.callback(self._stop)
            if active:
                assert self.driver.change_state("configure")
                assert self.driver.change_state("activate")
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._check()

    def restarted(self) -> Rig:
        """As if freshly activated, with nothing left of what came before."""
        driver = self.driver
        driver.meanwhile = lambda: None
        assert driver.change_state("deactivate")
        # Diagnostics come in order: what is sent after this one is about the new session.
        driver.wait_for("word of being inactive", lambda: driver.status("segmentation").message == "inactive")
        assert driver.change_state("activate")
        driver.clear()
        return self

    def _spin(self) -> None:
        try:
            while not self._stopping.is_set():
                self._executor.spin_once()
        except ExternalShutdownException:
            pass
        except BaseException:
            self._error = traceback.format_exc()

    def _check(self) -> None:
        if self._error:
            raise RuntimeError(f"the node died:\n{self._error}")

    def _destroy(self) -> None:
        self.node.destroy_node()
        # The state machine of a lifecycle node keeps its rcl node, and so the /rosout of its name, until collected.
        del self.node
        gc.collect()

    def _stop(self) -> None:
        self._stopping.set()
        self._executor.create_task(lambda: None)  # wakes it; to shut it down while it spins may raise there
        self._thread.join(20)
        self._executor.shutdown()
        del self._executor


class NodeProcess:
    """scripts/segment_node as users start it, or another script, in a process of its own."""

    def __init__(
        self, folder: Path, parameters: dict[str, Any], domain_id: int, script: Path = ROOT / "scripts" / "segment_node"
    ) -> None:
        self._log = folder / "segment_node.log"
        arguments = [f"{name}:={_text(value)}" for name, value in parameters.items()]
        options = [word for argument in arguments for word in ("-p", argument)]
        environment = {
            **os.environ,
            "ROS_DOMAIN_ID": str(domain_id),
            "PYTHONPATH": python_path(),
        }
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(script), "--ros-args", *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def wait_until_it_takes_signals(self) -> None:
        """Python itself, while it starts, has no handler of SIGTERM."""
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
            if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
                return
            time.sleep(0.002)
        raise AssertionError("no handler of SIGTERM within 30 s")

    def check(self) -> None:
        if self.process.poll() is not None:
            raise RuntimeError(f"segment_node ended with {self.process.returncode}:\n{self.output}")

    def stop(self, *signals: int) -> int:
        for number in signals or (signal.SIGINT, signal.SIGINT):
            self.process.send_signal(number)
        return self.process.wait(30)

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
