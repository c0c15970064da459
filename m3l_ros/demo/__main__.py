"""Start the real node in its own process, play a recording that loses sensors, and show what the node labels.

In the first quarter both sensors play, in the second depth is silent, in the third color is, in the last both are
back. The figures and a picture are written to the output folder, which is printed last.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from rich.live import Live
from rich.table import Table
from rich.text import Text

from m3l_core.bundle import ModelBundle
from m3l_core.command_line import run
from m3l_core.errors import M3LError
from m3l_core.reporting.output_folder import probe_folder
from m3l_core.shipped import shipped_bundle, shipped_recording
from m3l_core.terminal import PlainConsole
from m3l_ros.demo.play import TOPICS, Stage
from m3l_ros.demo.recording import Instant, read_recording
from m3l_ros.demo.report import results_table, score, write_picture, write_report
from m3l_ros.node_client import node_client
from m3l_ros.node_process import running_node

NODE_PARAMETERS = {
    "autostart": "true",
    "image_transport": "compressed",
    "depth_image_transport": "compressedDepth",
    "sensor_timeout": "0.3",  # three periods of the recording's 10 Hz
    "diagnostics_period": "0.2",
}


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``m3l_demo`` and ``python -m m3l_ros.demo``."""
    arguments = _parse(argv)
    run(lambda: _play(arguments))


def _play(arguments: argparse.Namespace) -> None:
    """Play, score, report.

    Raises:
        M3LError: bundle or recording cannot be used, the node died, or a phase has no labels at all.
    """
    console = PlainConsole()
    bundle = ModelBundle.load(arguments.bundle)
    instants = read_recording(arguments.recording)
    probe_folder(arguments.output)
    parameters = NODE_PARAMETERS | {"bundle": str(bundle.folder.resolve()), "engine": arguments.engine}
    console.print(f"starting segment_node with {bundle.folder.name} (log: {arguments.output / 'node.log'}) ...")
    with (
        running_node(parameters, arguments.domain, arguments.output / "node.log") as check,
        node_client("m3l_demo", arguments.domain, TOPICS, check) as client,
    ):
        stage = Stage(client)
        stage.wait_until_ready()
        accounts = stage.accounts
        engine = f"{accounts.get('engine')} {accounts.get('precision')}"
        console.print(f"engine {engine}; playing {arguments.recording.name}")
        display = _Display(console, stage)
        with display.live:
            for instant in stage.play(instants):
                display.show(instant)
            stage.wait_for_last_mask(instants[-1].stamp_ns)
        masks = dict(stage.masks)
        accounts = stage.accounts
    labels = bundle.description.labels
    results = score(instants, masks, len(labels))
    write_report(arguments.output / "report.json", results, accounts)
    write_picture(arguments.output / "demo.png", instants, masks, labels)
    console.print(results_table(results))
    console.print(f"latency from the last message to the labels: p50 {accounts.get('total p50 [ms]', '?')} ms")
    if silent := [result.phase for result in results if result.labelled == 0]:
        raise M3LError(f"no labels at all in: {', '.join(silent)}; see {arguments.output / 'node.log'}")
    console.print(f"report.json and demo.png are in\n{arguments.output.resolve()}", soft_wrap=True, highlight=False)


class _Display:
    """A live table on a terminal; elsewhere a line whenever something changes."""

    def __init__(self, console: PlainConsole, seen: Stage) -> None:
        self._console = console
        self._seen = seen
        self._last: tuple[str, ...] = ()
        self._history: list[str] = []
        self._started_s = time.monotonic()
        self.live = Live(console=console, refresh_per_second=8, auto_refresh=console.is_terminal, transient=False)

    def show(self, instant: Instant) -> None:
        states = self._seen.states
        now_s = time.monotonic()
        rate = sum(arrived > now_s - 1.0 for arrived in list(self._seen.arrivals_s))
        latency = self._seen.accounts.get("total p50 [ms]", "?")
        current = (instant.phase.name, states.get("color", "?"), states.get("depth", "?"))
        if current != self._last:
            line = "{:>5.1f} s  playing: {:<13} color {:<6} depth {:<6}".format(now_s - self._started_s, *current)
            self._history.append(line)
            if not self._console.is_terminal:
                self._console.print(f"{line} labels {rate} Hz", highlight=False)
            self._last = current
        if self._console.is_terminal:
            self.live.update(self._table(current, rate, latency))

    def _table(self, current: tuple[str, str, str], rate: int, latency: str) -> Table:
        table = Table(caption="\n".join(self._history[-8:]), caption_justify="left")
        for name in ("playing", "color", "depth", "labels", "latency p50"):
            table.add_column(name, min_width=12)
        marked = [Text(state, "green" if state == "OK" else "red") for state in current[1:]]
        table.add_row(current[0], *marked, f"{rate} Hz", f"{latency} ms")
        return table


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=shipped_bundle(), help="model bundle (default: the shipped one)")
    parser.add_argument("--recording", type=Path, default=shipped_recording(), help="default: the shipped one")
    parser.add_argument("--engine", default="auto", help="inference engine (default: auto)")
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="default: demo_output")
    parser.add_argument(
        "--domain",
        type=int,
        default=1 + os.getpid() % 100,
        help="ROS domain, 0 to 101 (default: one of its own, so that it meets no robot)",
    )
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.domain <= 101:
        parser.error(f"--domain must be between 0 and 101, got {arguments.domain}")
    return arguments


if __name__ == "__main__":
    main()
