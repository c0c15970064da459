"""What replays have found, as tables."""

from __future__ import annotations

from rich.table import Table

from m3l_core.replay.measures.measures import Measures
from m3l_core.replay.report.figures import figures_of, mm_robust_of
from m3l_core.replay.report.report import ReplayReport

_LAG_S = 0.1
"""What is played later than this is no robot's recording any more."""


def tables(report: ReplayReport) -> list[Table]:
    """A row per scenario; then, where messages were dropped, which and why."""
    totals = report.totals
    dropped = _dropped(totals)
    return [_scenarios(report, totals), *([dropped] if dropped.row_count else [])]


def _scenarios(report: ReplayReport, totals: dict[str, Measures]) -> Table:
    names = ", ".join(bag.name for bag in report.bags[:3]) + (", ..." if len(report.bags) > 3 else "")
    table = Table(
        title=f"{report.bundle.name}, {report.engine} {report.precision}, {names}",
        caption="stock: what an ApproximateTimeSynchronizer would have passed on for labelling",
    )
    shown = ["rate", "gap", "complete", "miou", "agreement", "consistency", "equal"]
    figures = {name: figures_of(measures) for name, measures in totals.items()}
    shown = [name for name in shown if any(found[name] is not None for found in figures.values())]
    duration = "latency" if any(measures.live for measures in totals.values()) else "wait"
    table.add_column("scenario")
    heads = {"rate": "rate\n(Hz)", "gap": "longest\ngap (s)", "miou": "mIoU", "equal": "as\noffline"}
    for head in (
        "labels",
        f"{duration} p50/95/99\n(ms)",
        *(heads.get(name, name) for name in shown),
        "stock\n(Hz)",
        "its longest\ngap (s)",
    ):
        table.add_column(head, justify="right")
    for name, measures in totals.items():
        durations = (figures[name][f"{duration}_p{percent}"] for percent in (50, 95, 99))
        stock = measures.stock
        table.add_row(
            name,
            str(measures.delivery.number),
            "/".join(_text(seconds, 1e3, 0) for seconds in durations),
            *(_text(figures[name][figure], digits=1 if figure == "rate" else 3) for figure in shown),
            _text(None if stock is None else stock.rate_hz, digits=1),
            _text(None if stock is None else stock.longest_gap_ns / 1e9),
        )
    if (robust := mm_robust_of(totals)) is not None:
        table.caption = f"MM-Robust {robust[0]:.3f}; {table.caption}"
    judged = {name: measures.scores.accuracy.frames for name, measures in totals.items()}
    if unjudged := [name for name, frames in judged.items() if 0 < frames < totals[name].delivery.number]:
        told = ", ".join(f"{judged[name]} of {totals[name].delivery.number} in {name}" for name in unjudged[:3])
        table.caption = f"labels that have ground truth: {told}{', ...' if unjudged[3:] else ''}; {table.caption}"
    if replaced := {name: m.live.replaced_sets for name, m in totals.items() if m.live and m.live.replaced_sets}:
        told = ", ".join(f"{count} in {name}" for name, count in replaced.items())
        table.caption = f"sets replaced by newer ones while the engine was busy: {told}; {table.caption}"
    if (lag_s := max((m.live.longest_lag_ns / 1e9 for m in totals.values() if m.live), default=0.0)) > _LAG_S:
        table.caption = f"messages were published up to {lag_s:.1f} s late: this machine is too slow; {table.caption}"
    return table


def _dropped(totals: dict[str, Measures]) -> Table:
    table = Table("scenario", "modality", "why", title="Messages in no frame set")
    table.add_column("messages", justify="right")
    for scenario, measures in totals.items():
        for modality, counts in measures.modalities.items():
            for why, count in counts.dropped.most_common():
                table.add_row(scenario, modality, why, str(count))
    return table


def _text(value: float | None, scale: float = 1, digits: int = 3) -> str:
    return "-" if value is None else f"{value * scale:.{digits}f}"
