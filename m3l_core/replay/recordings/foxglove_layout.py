"""A layout for Foxglove and Lichtblick, which show nothing of a bag until somebody has placed its panels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

_FARTHEST_MM = 8000


def foxglove_layout(images: Mapping[str, str], depths: Collection[str], states: Sequence[str]) -> Any:
    """Pictures in two rows, the states of the sensors below.

    Args:
        images: title -> topic.
        depths: those topics that are depth, which is drawn in false colors up to 8 m.
        states: names of diagnostic statuses on ``/diagnostics``, whose messages are states.

    Returns:
        What the viewers import as a layout, for JSON.
    """
    panels: dict[str, Any] = {}
    for number, (title, topic) in enumerate(images.items()):
        mode: dict[str, Any] = {"imageTopic": topic, "synchronize": False}
        if topic in depths:
            mode |= {"colorMode": "colormap", "colorMap": "turbo", "minValue": 0, "maxValue": _FARTHEST_MM}
        panels[f"Image!{number}"] = {"imageMode": mode, "foxglovePanelTitle": title, "lichtblickPanelTitle": title}
    pictures = [*panels]
    panels["StateTransitions!states"] = {
        "paths": [
            {
                "value": f'/diagnostics.status[:]{{name=="{name}"}}.message',
                "label": name,
                "timestampMethod": "receiveTime",
            }
            for name in states
        ],
        "isSynced": True,
    }
    panels["DiagnosticSummary!all"] = {
        "topicToRender": "/diagnostics",
        "minLevel": 0,
        "pinnedIds": [],
        "hardwareIdFilter": "",
    }
    half = -(-len(pictures) // 2)
    above = [_side_by_side("row", row) for row in (pictures[:half], pictures[half:]) if row]
    below = _side_by_side("row", ["StateTransitions!states", "DiagnosticSummary!all"])
    return {
        "configById": panels,
        "globalVariables": {},
        "userNodes": {},
        "playbackConfig": {"speed": 1},
        "layout": _side_by_side("column", [*above, below]),
    }


def _side_by_side(direction: str, parts: Sequence[Any]) -> Any:
    """Equal shares, as the nested halves that the viewers know."""
    first, *others = parts
    if not others:
        return first
    return {
        "direction": direction,
        "first": first,
        "second": _side_by_side(direction, others),
        "splitPercentage": round(100 / len(parts), 1),
    }
