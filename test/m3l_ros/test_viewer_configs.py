"""RViz and Foxglove are shown topics that the running node really has, of their types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.engines import ConstantEngine, loader
from support.rig import ROOT, Rig

from m3l_core.replay.recordings.foxglove_layout import foxglove_layout

pytestmark = [pytest.mark.needs("rclpy"), pytest.mark.dds]
RVIZ = ROOT / "config" / "rviz" / "m3l_ros.rviz"
FOXGLOVE = ROOT / "config" / "foxglove" / "m3l_ros.json"
IMAGE = "sensor_msgs/msg/Image"
SHOWN = {"/color/image_raw", "/depth/image_rect", "/segmentation/color_mask", "/segmentation/overlay"}
SHOWN |= {"/segmentation/confidence"}
DISPLAYS = {"rviz_default_plugins/Image": IMAGE, "rviz_default_plugins/PointCloud2": "sensor_msgs/msg/PointCloud2"}


@pytest.fixture(scope="module")
def graph(tiny_bundle: Path) -> dict[str, list[str]]:
    """Topic of the running node -> its types."""
    with Rig(tiny_bundle, engine_loader=loader(ConstantEngine())) as rig:
        node, found = rig.driver.node, {}

        def is_known() -> bool:
            found.update(node.get_publisher_names_and_types_by_node("segment_node", "/"))
            found.update(node.get_subscriber_names_and_types_by_node("segment_node", "/"))
            return found.keys() >= SHOWN

        rig.driver.wait_for("topics of the node", is_known)
        rig.driver.wait_for("diagnostics", lambda: "segmentation" in rig.driver.statuses)
        return dict(found)


def test_rviz_shows_topics_that_there_are(graph: dict[str, list[str]]) -> None:
    displays = yaml.safe_load(RVIZ.read_text())["Visualization Manager"]["Displays"]
    shown = {display["Topic"]["Value"]: DISPLAYS[display["Class"]] for display in displays}
    assert SHOWN | {"/segmentation/points"} == shown.keys()
    assert {topic: graph[topic] for topic in shown} == {topic: [kind] for topic, kind in shown.items()}
    # A driver's topics are best effort, which a reliable subscription would not match.
    assert {display["Topic"]["Reliability Policy"] for display in displays} == {"Best Effort"}


def test_foxglove_shows_topics_that_there_are(graph: dict[str, list[str]]) -> None:
    layout: dict[str, Any] = json.loads(FOXGLOVE.read_text())
    panels = layout["configById"]
    pictures = {panel["foxglovePanelTitle"]: panel["imageMode"]["imageTopic"] for panel in _of_kind(panels, "Image")}
    assert set(pictures.values()) == SHOWN
    assert all(graph[topic] == [IMAGE] for topic in SHOWN)
    assert graph["/diagnostics"] == ["diagnostic_msgs/msg/DiagnosticArray"]
    states = [f"/segment_node: {name}" for name in ("color", "depth", "segmentation")]
    # One layout for recordings and for the running node.
    assert layout == foxglove_layout(pictures, ["/depth/image_rect"], states)
    assert sorted(_leaves(layout["layout"])) == sorted(panels)


def _of_kind(panels: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [panel for name, panel in panels.items() if name.partition("!")[0] == kind]


def _leaves(layout: Any) -> list[str]:
    return [layout] if isinstance(layout, str) else _leaves(layout["first"]) + _leaves(layout["second"])
