"""The node in a process of its own, as on a robot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from m3l_core.errors import M3LError


@contextmanager
def running_node(parameters: Mapping[str, str], domain_id: int, log: Path) -> Iterator[Callable[[], None]]:
    """Start segment_node; it is stopped whatever happens in the block.

    Yields:
        A check that raises M3LError, with the end of the node's log, if the node has died.
    """
    command = [sys.executable, "-m", "m3l_ros.segment_node", "--ros-args"]
    for name, text in parameters.items():
        command += ["-p", f"{name}:={text}"]
    environment = os.environ | {"ROS_DOMAIN_ID": str(domain_id), "RCUTILS_COLORIZED_OUTPUT": "0"}
    with log.open("w", encoding="utf-8") as output:
        # A session of its own: a Ctrl-C in the terminal reaches the program here, which then stops the node in order.
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )

    def check() -> None:
        if process.poll() is not None:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
            raise M3LError(f"the node ended with status {process.returncode}. Its log ends:\n" + "\n".join(lines))

    try:
        yield check
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10.0)
        finally:  # also where a second Ctrl-C ends the wait
            process.kill()
            process.wait()
