"""What an inspection has found, for the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

MOST_EXAMPLES = 3


def tables(report: Mapping[str, Any]) -> list[Table]:
    """The report of ``inspect_index`` as tables; those that would be empty are left out."""
    found = [_overview(report), _distances(report), _classes(report), _problems(report)]
    return [table for table in found if table.row_count]


def _overview(report: Mapping[str, Any]) -> Table:
    table = _table(report["index"], ("", ""))
    table.add_row("frames", str(report["frames"]))
    table.add_row("recordings", str(report["recordings"]))
    table.add_row("frames with a label", str(report["labelled"]))
    for name, count in report["missing"].items():
        table.add_row(f"frames with {name}", str(report["frames"] - count))
    table.add_row("sizes", ", ".join(f"{size} ({count})" for size, count in list(report["sizes"].items())[:5]))
    table.add_row("pixels without a label", _percent(report["unlabelled_share"]))
    for remark in report["remarks"]:
        table.add_row("remark", remark, style="yellow")
    return table


def _distances(report: Mapping[str, Any]) -> Table:
    found = report["distances"]
    percentiles = next(iter(found.values()))["percentiles_m"] if found else {}
    columns = ("", "invalid", "nearer", "farther", *(f"{percent} %" for percent in percentiles))
    table = _table("Distances in metres: shares out of range, percentiles", columns)
    for name, figures in found.items():
        shares = (_percent(figures[key]) for key in ("invalid_share", "nearer_share", "farther_share"))
        values = ("-" if value is None else f"{value:.2f}" for value in figures["percentiles_m"].values())
        table.add_row(name, *shares, *values)
    return table


def _classes(report: Mapping[str, Any]) -> Table:
    table = _table("Classes", ("class", "of the labelled pixels", "frames"))
    if report["labelled"]:
        for entry in report["classes"]:
            style = None if entry["frames"] else "yellow"
            table.add_row(entry["name"], _percent(entry["pixel_share"]), str(entry["frames"]), style=style)
    return table


def _problems(report: Mapping[str, Any]) -> Table:
    table = _table("What would stop a training", ("problem", "times", "where"), justify="left")
    for kind, where in report["problems"].items():
        more = f"\nand {len(where) - MOST_EXAMPLES} more" if len(where) > MOST_EXAMPLES else ""
        table.add_row(kind, str(len(where)), "\n".join(where[:MOST_EXAMPLES]) + more, style="red")
    return table


def _table(title: str, columns: Sequence[str], justify: Any = "right") -> Table:
    table = Table(title=title, show_header=any(columns))
    for number, column in enumerate(columns):
        table.add_column(column, justify=justify if number else "left", overflow="fold")
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
