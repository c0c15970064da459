"""The arguments of ``m3l_replay``."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from m3l_core.bags.frame_sets import KINDS, MODALITIES
from m3l_core.bags.sync_arguments import add_sync_arguments, sync_config_of
from m3l_core.bags.topics import NONE
from m3l_core.bundle import BundleDescription
from m3l_core.command_line import number_between, whole_number
from m3l_core.engines.engine import ENGINES, PRECISIONS
from m3l_core.errors import DatasetError, require
from m3l_core.remote_files import absolute, joined, location
from m3l_core.replay.faults.scenario import GROUPS, Scenario, load_scenarios
from m3l_core.replay.recordings.annotated_bag import annotated_bag
from m3l_core.replay.recordings.rerun_recording import rerun_recording
from m3l_core.replay.recordings.sinks import OpenSink, run_name
from m3l_core.replay.replay import ReplaySettings
from m3l_core.replay.report.figures import FIGURES, MM_ROBUST, SUBSETS, Limit, check_limits, parse_limits
from m3l_core.replay.stored_bags import BagRequest, stored_sink
from m3l_core.shipped import shipped_bundle


class LiveOptions(NamedTuple):
    """Where the node of a live replay is."""

    attach: bool
    """Whether it runs already."""
    domain_id: int | None
    """ROS domain; None = one of its own, or that of this process where the node runs already."""
    log_folder: Path | None
    """For the log of a node that is started; None = it is not kept."""


def parse(description: str) -> tuple[argparse.Namespace, list[Scenario]]:
    """Read the command line, and the scenarios that it names.

    Raises:
        SystemExit: an argument cannot be used.
        ScenarioError: there is no such scenario, or its file is none.
    """
    parser = _parser(description)
    arguments = parser.parse_args()
    scenarios = load_scenarios(arguments.scenario or list(SUBSETS))
    try:
        has_truth = bool(arguments.label_topic or arguments.labels)
        check_limits(arguments.fail_under, scenarios, has_truth, arguments.live)
    except ValueError as error:
        parser.error(f"argument --fail-under: {error}")
    if len(arguments.labels) not in (0, 1, len(arguments.bags)):
        parser.error(f"argument --labels: expected one path, or one for each of {len(arguments.bags)} bags")
    if (arguments.annotate or arguments.rerun) and arguments.output is None:
        parser.error("arguments --annotate and --rerun: expected --output, too")
    if arguments.live and (arguments.annotate or arguments.rerun or arguments.jobs > 1):
        parser.error("argument --live: --annotate, --rerun and --jobs are for replays offline")
    if not arguments.live and (arguments.attach or arguments.domain is not None):
        parser.error("arguments --attach and --domain: expected --live, too")
    if arguments.live and (arguments.ray is not None or _are_urls(*arguments.bags, arguments.output)):
        parser.error("argument --live: expected no --ray, and paths on this machine")
    if arguments.ray is not None:
        _mean_the_same_anywhere(arguments)
    return arguments, scenarios


def _mean_the_same_anywhere(arguments: argparse.Namespace) -> None:
    for name in ("bags", "labels"):
        setattr(arguments, name, [absolute(where) for where in getattr(arguments, name)])
    arguments.bundle = absolute(arguments.bundle)
    arguments.output = None if arguments.output is None else absolute(arguments.output)
    # Left to itself an engine would take all cores of a machine that it shares with other bags.
    arguments.threads = arguments.threads or 1


def settings_of(arguments: argparse.Namespace, described: BundleDescription) -> ReplaySettings:
    """The robot's, as far as the command line sets them.

    Raises:
        DatasetError: a stamp offset is for no sensor.
    """
    sync = sync_config_of(arguments, {**dict.fromkeys(described.modality_names), **KINDS})
    return ReplaySettings(arguments.stamps, sync, min_confidence=arguments.min_confidence)


def live_options_of(arguments: argparse.Namespace) -> LiveOptions:
    return LiveOptions(arguments.attach, arguments.domain, arguments.output)


def bags_of(arguments: argparse.Namespace, described: BundleDescription) -> list[BagRequest]:
    given: dict[str, str | None] = dict.fromkeys(described.modality_names)
    given |= {"color": arguments.color_topic, "depth": arguments.depth_topic}
    for name, topic in arguments.topic:
        if name in MODALITIES or name not in described.modality_names:
            others = [each for each in described.modality_names if each not in MODALITIES]
            raise DatasetError(f"--topic is for {' and '.join(others) or 'no sensor'} of this bundle, not for '{name}'")
        given[name] = topic
    labels = arguments.labels if len(arguments.labels) > 1 else (arguments.labels or [None]) * len(arguments.bags)
    return [
        BagRequest(bag, given, described, arguments.label_topic, beside)
        for bag, beside in zip(arguments.bags, labels, strict=True)
    ]


def are_elsewhere(arguments: argparse.Namespace) -> bool:
    """Whether the bags are looked at only where they are replayed."""
    return arguments.ray is not None or _are_urls(*arguments.bags, *arguments.labels)


def _are_urls(*locations: object) -> bool:
    return any(isinstance(where, str) for where in locations)


def sinks_of(
    arguments: argparse.Namespace, bags: Sequence[BagRequest], scenarios: Sequence[Scenario]
) -> tuple[OpenSink, ...]:
    """What is written of each run.

    Raises:
        MissingPackageError: rerun-sdk is not installed.
        DatasetError: two runs would be written to one place.
    """
    sinks: list[OpenSink] = []
    if arguments.annotate:
        sinks.append(partial(stored_sink, annotated_bag, joined(arguments.output, "annotated")))
    if arguments.rerun:
        require("rerun", "rerun")  # told before the work starts
        sinks.append(partial(stored_sink, rerun_recording, joined(arguments.output, "rerun")))
    names = Counter(run_name(bag.name, scenario.name) for bag in bags for scenario in scenarios)
    name, count = names.most_common(1)[0]
    if sinks and count > 1:
        raise DatasetError(f"{count} runs would be written to '{name}': give the bags' folders names that differ")
    return tuple(sinks)


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="m3l_replay", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "bags",
        nargs="+",
        type=location,
        metavar="BAG",
        help="folder of a bag, a single file of it, or a .bag of ROS 1; a path, or a URL such as s3://bucket/bags/hall",
    )
    add("--bundle", type=location, default=shipped_bundle(), help="default: the shipped one")
    add(
        "--scenario",
        nargs="+",
        action="extend",
        metavar="NAME",
        help=f"scenarios by name or YAML file, or {', '.join(GROUPS)} (default: {' '.join(SUBSETS)})",
    )
    add("--color-topic", metavar="TOPIC", help=f"'{NONE}' if there is none; guessed if not given")
    add("--depth-topic", metavar="TOPIC", help=f"'{NONE}' if there is none; guessed if not given")
    add(
        "--topic",
        type=_topic,
        action="append",
        default=[],
        metavar="SENSOR=TOPIC",
        help="of a further sensor of the bundle, such as thermal=/thermal/image_raw; guessed if not given",
    )
    truth = parser.add_mutually_exclusive_group()
    truth.add_argument("--label-topic", metavar="TOPIC", help="ground truth: mono8 images of class ids, by stamp")
    truth.add_argument(
        "--labels",
        nargs="+",
        type=location,
        default=[],
        metavar="PATH",
        help="ground truth: folder of STAMP_NS.png, of such folders by bag, or frames.json; one, or one for each bag",
    )
    add_sync_arguments(parser, modalities=())  # the bundle knows
    add("--engine", default="auto", choices=("auto", *ENGINES))
    add("--precision", default="auto", choices=("auto", *PRECISIONS))
    add(
        "--min-confidence",
        type=number_between(0, 1),
        default=0.0,
        help="labels of less are 255, as with the node's parameter of that name",
    )
    add("--threads", type=whole_number, default=0, metavar="N", help="CPU threads of an engine; 0 = its own choice")
    add("--jobs", type=whole_number, default=1, metavar="N", help="processes, each with an engine, for several bags")
    add(
        "--ray",
        metavar="ADDRESS",
        help="replay on a Ray cluster, one bag a task, with --threads cores each: 'auto', HOST:PORT or "
        "ray://HOST:PORT; paths must be the same on its machines",
    )
    add("--output", type=location, metavar="FOLDER", help="where to write report.json")
    add("--annotate", action="store_true", help="write each run as a bag (MCAP) with its labels to FOLDER/annotated")
    add("--rerun", action="store_true", help="write each run for the Rerun viewer (.rrd) to FOLDER/rerun")
    add("--live", action="store_true", help="play into the running node over DDS in real time (needs ROS 2)")
    add("--attach", action="store_true", help="with --live: into the segment_node that runs, not one started for it")
    add("--domain", type=_domain, metavar="N", help="ROS domain of --live (default: its own; attached: ROS_DOMAIN_ID)")
    add(
        "--fail-under",
        type=_limits,
        default=(),
        metavar="LIMITS",
        help="such as miou=0.4,gap=0.2,no_color:miou=0.3, for all scenarios or one; gap and times must not be above. "
        f"Figures: {', '.join((*FIGURES, MM_ROBUST))}",
    )
    return parser


def _topic(text: str) -> tuple[str, str]:
    name, _, topic = text.partition("=")
    if not name or not topic:
        raise argparse.ArgumentTypeError(f"expected SENSOR=TOPIC, got '{text}'")
    return name, topic


def _limits(text: str) -> tuple[Limit, ...]:
    try:
        return parse_limits(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _domain(text: str) -> int:
    # Above, the ports of a domain may collide with those that Linux hands out.
    if not text.isdecimal() or int(text) > 101:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 101, got {text}")
    return int(text)
