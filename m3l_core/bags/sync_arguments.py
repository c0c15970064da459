"""The synchronizer's settings on the command lines of what reads bags, by the names of the node's parameters."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection
from functools import partial

from m3l_core.bags.frame_sets import MODALITIES
from m3l_core.command_line import number_between, positive
from m3l_core.errors import DatasetError
from m3l_core.streaming.sync_config import SyncConfig

_OPTIONS = {
    "approx_sync_max_interval": "--max-interval",
    "sync_timeout": "--sync-timeout",
    "sensor_timeout": "--sensor-timeout",
    "sync_queue_size": "--queue-size",
}


def add_sync_arguments(parser: argparse.ArgumentParser, modalities: Collection[str] = MODALITIES) -> None:
    """Add ``--stamps`` and what ``sync_config_of`` reads.

    Args:
        modalities: that may have an offset; any if empty, where they are known only later.
    """
    default = SyncConfig()
    add = parser.add_argument
    add("--stamps", choices=("header", "receive"), default="header", help="what counts as an image's stamp")
    seconds = number_between(1e-9, 1000)
    for name, value_ns in (
        ("approx_sync_max_interval", default.approx_sync_max_interval_ns),
        ("sync_timeout", default.sync_timeout_ns),
        ("sensor_timeout", default.sensor_timeout_ns),
    ):
        add(_OPTIONS[name], type=seconds, default=value_ns / 1e9, metavar="S", help=f"the node's {name}")
    add("--queue-size", type=positive, default=default.queue_size, metavar="N", help="the node's sync_queue_size")
    add(
        "--stamp-offset",
        type=partial(_offset, modalities),
        action="append",
        default=[],
        metavar="MODALITY=S",
        help="the node's stamp_offset, such as depth=-0.05: what to add to a sensor's stamps; may be given for each",
    )


def sync_config_of(arguments: argparse.Namespace, modalities: Collection[str] = MODALITIES) -> SyncConfig:
    """What the command line says.

    Raises:
        DatasetError: an offset is for none of the modalities.
    """
    if unknown := [name for name, _ in arguments.stamp_offset if name not in modalities]:
        raise DatasetError(f"--stamp-offset: expected {_expected(modalities)}, got one for '{unknown[0]}'")
    return SyncConfig(
        approx_sync_max_interval_ns=round(arguments.max_interval * 1e9),
        sync_timeout_ns=round(arguments.sync_timeout * 1e9),
        sensor_timeout_ns=round(arguments.sensor_timeout * 1e9),
        queue_size=arguments.queue_size,
        stamp_offsets_ns=dict(arguments.stamp_offset),
    )


def in_options(remark: str) -> str:
    """What a remark of the synchronizer says, with the options of these command lines for the node's parameters."""
    text = re.sub(r"\bstamp_offset\.(\w+) (-?[\d.]+)", r"--stamp-offset \1=\2", remark)
    return re.sub(r"\b(" + "|".join(_OPTIONS) + r")\b", lambda found: _OPTIONS[found[0]], text)


def _offset(modalities: Collection[str], text: str) -> tuple[str, int]:
    modality, _, seconds = text.partition("=")
    try:
        offset_ns = round(float(seconds) * 1e9)
    except (ValueError, OverflowError):
        offset_ns = None
    if not modality or offset_ns is None or (modalities and modality not in modalities):
        raise argparse.ArgumentTypeError(f"expected {_expected(modalities or MODALITIES)}, got '{text}'")
    return modality, offset_ns


def _expected(modalities: Collection[str]) -> str:
    return " or ".join(f"{name}=SECONDS" for name in modalities)
