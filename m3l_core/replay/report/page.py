"""Replays as a page, made from what ``report.to_dict`` gives or from the report.json that holds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from m3l_core.files import replacing_file
from m3l_core.replay.measures.timing import MOST_GAPS
from m3l_core.replay.report.page_figures import FiguresRow, figures_table, messages_table, number
from m3l_core.replay.report.page_labels import class_iou, confusion_matrices, score_bars, worst_frames
from m3l_core.replay.report.page_style import STYLE
from m3l_core.replay.report.page_timeline import TimelineRow, timeline, timeline_legend
from m3l_core.reporting.histogram import histogram
from m3l_core.reporting.page import card, folded, html_page, joined, named_rows, table, tiles, yaml_text

Report = Mapping[str, Any]


def write_page(path: Path, report: Report) -> None:
    """Write the page, which needs no other file.

    Raises:
        OSError: the disk is full, or cannot be written to.
    """
    with replacing_file(path) as temporary:
        temporary.write_text(to_html(report), encoding="utf-8")


def to_html(report: Report) -> str:
    scenarios = [scenario for scenario in report["scenarios"] if scenario["runs"]]
    rows = [FiguresRow(scenario["name"], scenario["description"], scenario) for scenario in scenarios]
    sections = [
        f"<h1>{escape(_title(report))}</h1>{_subtitle(report)}",
        _damages(report),
        _warnings(report),
        _limits(report),
        *(_measured(report, scenarios, rows) if scenarios else []),
        _bags(report),
        _origin(report),
        folded("Scenarios", yaml_text([_definition(scenario) for scenario in report["scenarios"]]), css="card wide"),
    ]
    return html_page(_title(report), sections, STYLE)


def _measured(report: Report, scenarios: Sequence[Report], rows: Sequence[FiguresRow]) -> list[str]:
    meanings = folded("What the figures mean", named_rows(report["figures"]))
    messages = folded("Messages", messages_table(rows), "what became of them, and why some are in no frame set")
    note = "Stock: what an ApproximateTimeSynchronizer would have passed on for labelling. Bold: the better of the two"
    return [
        tiles(_headlines(report, scenarios)),
        card("Figures by scenario", figures_table(rows) + meanings + messages, note, "wide"),
        _over_time(report),
        f'<div class="columns"><div class="stack">{score_bars(report)}{class_iou(report)}</div>'
        f"{confusion_matrices(report)}</div>",
        worst_frames(report),
        _live(scenarios),
        _durations(scenarios, "latency_histogram", "latency", "Latency from an image to its labels"),
        _durations(scenarios, "wait_histogram", "wait", "Sync wait"),
    ]


def _title(report: Report) -> str:
    bags = report["bags"]
    return f"Replay of {bags[0]['name']}" if len(bags) == 1 else f"Replay of {len(bags)} bags"


def _subtitle(report: Report) -> str:
    engine = report["engine"]
    count = len(report["scenarios"])
    scenarios = f"{count} scenario{'' if count == 1 else 's'}"
    told = f"{report['bundle']['name']} on {engine['name']} {engine['precision']}, {scenarios}"
    return f"<p>{escape(told)}</p>"


def _damages(report: Report) -> str:
    damaged = [bag for bag in report["bags"] if bag["damage"] is not None]
    if not damaged:
        return ""
    entries = "".join(f"<li>{escape(bag['name'])}: {escape(bag['damage'])}</li>" for bag in damaged)
    told = f"{len(damaged)} of {len(report['bags'])} bags could not be read to the end"
    return f'<div class="card notice failed wide"><b>{told}</b><ul>{entries}</ul></div>'


def _warnings(report: Report) -> str:
    told = "".join(
        f"<li>{escape(bag['name'])}: {escape(bag['warning'])}</li>" for bag in report["bags"] if bag.get("warning")
    )
    return (
        f'<div class="card notice wide"><b>Read the figures with this in mind</b><ul>{told}</ul></div>' if told else ""
    )


def _limits(report: Report) -> str:
    asked, failed = (report["limits"][key] for key in ("asked", "failed"))
    if not asked:
        return ""
    told = f"Limits: {', '.join(asked)}"
    if not failed:
        return f'<p class="card notice held wide">{escape(told)}: all held</p>'
    entries = "".join(f"<li>{escape(failure)}</li>" for failure in failed)
    return f'<div class="card notice failed wide"><b>{escape(told)}. Not held:</b><ul>{entries}</ul></div>'


def _headlines(report: Report, scenarios: Sequence[Report]) -> list[tuple[str, str, str]]:
    """The worst that befell the labels, and how good they were."""

    def worst(kind: str, key: str, choose: Any) -> tuple[float, str] | None:
        deliveries = ((scenario["measures"][kind], scenario["name"]) for scenario in scenarios)
        known = [(delivery[key], name) for delivery, name in deliveries if delivery and delivery[key] is not None]
        return choose(known, key=lambda pair: pair[0]) if known else None

    entries = []
    for name, key, choose, digits, unit in (
        ("longest time without labels", "longest_gap_s", max, 3, "s"),
        ("lowest label rate", "rate_hz", min, 1, "Hz"),
    ):
        ours, stock = (worst(kind, key, choose) for kind in ("delivery", "stock_synchronizer"))
        if ours is not None:
            beside = f"; stock synchronizer: {number(stock[0], digits=digits)} {unit} in {stock[1]}" if stock else ""
            entries.append((name, f"{number(ours[0], digits=digits)} {unit}", f"in {ours[1]}{beside}"))
    if (robust := report["mm_robust"]) is not None:
        entries.append(("MM-Robust", number(robust["value"]), "mean mIoU over what sensors are left"))
    without = next((scenario["figures"] for scenario in scenarios if not scenario["faults"]), None)
    for name, told in (("miou", "mIoU"), ("agreement", "agreement with the run without faults")):
        known = [(value, each["name"]) for each in scenarios if (value := each["figures"][name]) is not None]
        if known:
            value, scenario = min(known)
            of = max(scenarios, key=lambda each: int(each["measures"]["frames_compared"]["truth"]))["measures"]
            judged, labels = of["frames_compared"]["truth"], of["delivery"]["number"]
            over = f"; {judged} of {labels} labels have ground truth" if 0 < judged < labels else ""
            if without is None or without[name] is None:
                entries.append((f"lowest {told}", number(value), f"in {scenario}{over}"))
            else:
                detail = f"lowest {number(value)} in {scenario}{over}"
                entries.append((f"{told} without faults", number(without[name]), detail))
            break
    return entries


def _over_time(report: Report) -> str:
    """Each bag under all scenarios; of several the one with the longest gap is unfolded."""
    described = [(scenario["name"], scenario["description"]) for scenario in report["scenarios"]]
    bags = [(bag["name"], runs) for bag, runs in _runs_by_bag(report) if runs]
    gaps = [
        max((run["measures"]["delivery"]["longest_gap_s"], place) for place, run in enumerate(runs)) for _, runs in bags
    ]
    longest = max(range(len(bags)), key=lambda place: gaps[place][0])
    parts = []
    for place, (name, runs) in enumerate(bags):
        drawn = timeline([TimelineRow(*words, run) for words, run in zip(described, runs, strict=True)])
        if len(bags) > 1:
            rows = [FiguresRow(scenario, "", run) for (scenario, _), run in zip(described, runs, strict=True)]
            gap_s, at = gaps[place]
            told = f"{runs[0]['length_s']:.1f} s, longest gap {number(gap_s)} s in {described[at][0]}"
            drawn = folded(name, drawn + figures_table(rows), told, unfolded=place == longest)
        parts.append(drawn)
    note = f"At most {MOST_GAPS} gaps of each run, the longest; at the right what it all comes to"
    if any(states["further_changes"] for _, runs in bags for run in runs for states in run["states"].values()):
        note += ". Where a sensor's line ends early, more changes followed than are kept"
    return card("Sensors and labels over time", timeline_legend() + "".join(parts), note, "wide")


def _runs_by_bag(report: Report) -> Iterator[tuple[Report, list[Report]]]:
    """A bag that could not be replayed has no runs; the others' are in their order."""
    place = 0
    for bag in report["bags"]:
        runs = [scenario["runs"][place] for scenario in report["scenarios"] if place < len(scenario["runs"])]
        if runs and (runs[0]["bag"], runs[0]["damage"]) == (bag["name"], bag["damage"]):
            place += 1
            yield bag, runs
        else:
            yield bag, []


def _durations(scenarios: Sequence[Report], key: str, figure: str, title: str) -> str:
    """A histogram for each scenario, all on one axis."""
    known = [scenario for scenario in scenarios if scenario["measures"][key]]
    if not known:
        return ""
    until_s = max(seconds for scenario in known for seconds, _ in scenario["measures"][key])
    parts = []
    for scenario in known:
        percentiles = {f"p{percent}": scenario["figures"][f"{figure}_p{percent}"] for percent in (50, 95, 99)}
        told = ", ".join(f"{name} {number(value, 1e3, 0)} ms" for name, value in percentiles.items())
        chart = histogram(
            scenario["measures"][key], title.lower(), until_s=until_s, divisions_s=[*percentiles.values()]
        )
        parts.append(f'<div><h3>{escape(scenario["name"])} <span class="quiet">{told}</span></h3>{chart}</div>')
    note = "Share of the frame sets; dashed: the percentiles"
    return card(title, joined("columns several", parts), note, "wide")


def _live(scenarios: Sequence[Report]) -> str:
    """The node's labels beside those of the same replays offline."""
    heads = ["scenario", "labelled both ways", "equal", "from other images", "sets replaced", "messages late by [s]"]
    counted = ("frames_labelled_offline_too", "equal", "from_other_images", "replaced_sets")
    rows = [
        [scenario["name"], *(str(live[key]) for key in counted), number(live["longest_lag_s"])]
        for scenario in scenarios
        if (live := scenario["measures"]["live"]) is not None
    ]
    note = (
        "From other images: a message came earlier or later than it was recorded, and another frame set was made. "
        "Replaced: by newer sets while the engine was busy. Late: at most, where this machine is too slow to play"
    )
    return card("Labels of the node and offline", table(heads, rows), note, "wide") if rows else ""


def _bags(report: Report) -> str:
    heads = ["bag", "path", "topics", "ground truth"]
    rows = [
        [
            bag["name"],
            bag["path"],
            ", ".join(f"{name} {topic}" for name, topic in bag["topics"].items()),
            bag["ground_truth"] or "-",
        ]
        for bag in report["bags"]
    ]
    return folded("Bags", table(heads, rows, num_names=len(heads)), css="card wide", unfolded=len(rows) == 1)


def _origin(report: Report) -> str:
    bundle, engine = report["bundle"], report["engine"]
    rows = {
        "bundle": bundle["name"],
        "weights": f"sha256 {bundle['weights_sha256']}",
        "modalities": ", ".join(bundle["modalities"]),
        "engine": f"{engine['name']} {engine['precision']}",
    }
    settings = folded("Settings of the robot", yaml_text(report["settings"]), "times in seconds")
    return card("How it was replayed", named_rows(rows) + settings, css="wide")


def _definition(scenario: Report) -> dict[str, Any]:
    return {key: scenario[key] for key in ("name", "description", "seed", "faults")}
