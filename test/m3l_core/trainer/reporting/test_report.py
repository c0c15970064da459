"""The report of a training holds its figures, needs nothing else, and is never half-written."""

from __future__ import annotations

import base64
import json
import logging
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.browser import browse
from support.pages import Page, assert_needs_nothing_else
from support.rooms import recipe, write_rooms

from m3l_core.model.start_weights import StartWeights
from m3l_core.trainer.data import read_data
from m3l_core.trainer.provenance import Provenance
from m3l_core.trainer.reporting.report import HistoryFile, thinned, to_dict, write_report
from m3l_core.trainer.reporting.report_page import to_html
from m3l_core.trainer.trainer import Trainer

pytestmark = [pytest.mark.needs("torch"), pytest.mark.usefixtures("one_thread")]
COMMAND = "training/train.py tiny.yaml 'name=<tiny>'"
DATA = {"labelled": "train.json", "validation": "val.json", "label_fraction": 0.4}
MEAN_TEACHER = {"pseudo_labels": "mean_teacher"}


def train(folder: Path, **changes: Any) -> Trainer:
    made = recipe(**{"method": MEAN_TEACHER, "data": DATA, **changes})
    data = read_data(made, write_rooms(folder / "rooms"))
    trainer = Trainer(made, data, folder, workers=0, monitors=(HistoryFile(folder / "history.json"),))
    trainer.run()
    return trainer


def provenance(trainer: Trainer, start_weights: StartWeights | None = None) -> Provenance:
    return Provenance.of(trainer.recipe, trainer.data, COMMAND, start_weights)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Trainer:
    trainer = train(tmp_path_factory.mktemp("run"), name="<tiny> & co")
    write_report(trainer, provenance(trainer))
    return trainer


@pytest.fixture(scope="module")
def report(trained: Trainer) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((trained.output / "report.json").read_text())
    return content


@pytest.fixture(scope="module")
def page(trained: Trainer) -> Page:
    return Page((trained.output / "report.html").read_text())


def test_every_evaluation_is_in_the_history_file(trained: Trainer) -> None:
    assert json.loads((trained.output / "history.json").read_text()) == trained.history
    assert [entry["iteration"] for entry in trained.history] == [4, 8, 10]


def test_a_history_file_that_cannot_be_written_does_not_end_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "history.json").mkdir()
    with caplog.at_level(logging.ERROR):
        assert train(tmp_path).iteration == 10
    assert len(caplog.records) == 3
    assert "the training goes on" in caplog.text


def test_a_figure_that_does_not_exist_is_null(tmp_path: Path, trained: Trainer) -> None:
    entry = trained.history[-1] | {"miou": {"color+depth": 0.5, "color": math.nan, "depth": 0.25}}
    known, trained.history[-1] = trained.history[-1], entry
    try:
        HistoryFile(tmp_path / "history.json").evaluation(trained)
        report = to_dict(trained, provenance(trained))
    finally:
        trained.history[-1] = known
    written = json.loads((tmp_path / "history.json").read_text(), parse_constant=pytest.fail)
    assert written[-1]["miou"] == report["miou"] == {"color+depth": 0.5, "color": None, "depth": 0.25}
    assert "none" in Page(to_html(report, [])).text


def test_the_figures_are_those_of_the_training(trained: Trainer, report: dict[str, Any]) -> None:
    last = trained.history[-1]
    assert report["name"] == "<tiny> & co"
    assert report["miou"] == last["miou"]
    for subset, values in last["iou"].items():
        assert report["iou"][subset] == dict(zip(("floor", "wall", "chair"), values, strict=True))
    assert report["history"] == trained.history
    assert report["iterations"] == 10
    assert report["seconds"] > 0
    assert 0 <= report["waiting_for_data"] <= 1
    assert report["recipe"] == trained.recipe.model_dump(mode="json")
    assert report["losses"]["iteration"] == [*range(1, 11)]
    for name in ("loss", "supervised", "pseudo"):
        assert report["losses"][name] == pytest.approx([losses[name] for losses in trained.losses], abs=1e-6)


def test_the_data_are_counted(report: dict[str, Any]) -> None:
    assert report["data"] == {
        "labelled": {"frames": 2, "recordings": 1},
        "unlabelled": {"frames": 4, "recordings": 2},
        "validation": {"frames": 2, "recordings": 1},
    }
    assert report["provenance"]["labelled_frames"] == 2
    assert report["provenance"]["command"] == COMMAND


def test_versions_and_machine_are_told(report: dict[str, Any]) -> None:
    assert report["versions"]["torch"] == torch.__version__
    assert report["versions"]["numpy"] == np.__version__
    assert report["machine"]["threads"] == 1
    assert report["machine"]["device"]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=5000))
def test_thinned_losses_are_few_and_keep_their_mean(values: list[float]) -> None:
    found = thinned([{"loss": value} for value in values])
    iterations, losses = found["iteration"], found["loss"]
    assert len(iterations) == len(losses) <= 1000
    assert iterations[-1] == len(values)
    weights = np.diff([0, *iterations])
    assert np.average(losses, weights=weights) == pytest.approx(np.mean(values), abs=1e-5)
    if len(values) <= 1000:
        assert losses == pytest.approx(values, abs=1e-6)


def test_a_training_without_a_step_has_no_losses() -> None:
    assert thinned([]) == {"iteration": []}


def test_the_page_is_well_formed_and_needs_nothing_else(trained: Trainer, page: Page) -> None:
    text = (trained.output / "report.html").read_text()
    assert_needs_nothing_else(text)
    assert page.addresses
    assert "prefers-color-scheme: dark" in text
    assert "<tiny>" not in text
    assert "<tiny> & co" in page.text


def test_the_page_shows_curves_bars_pictures_and_headline_figures(trained: Trainer, page: Page) -> None:
    assert page.counts["polyline"] == 4 + 2 * 3  # mIoU of the subsets and their mean; losses, and their single values
    assert page.counts["circle"] == 4 * 3
    classes, subsets, evaluations = 3, 3, 2  # of the kept pseudo labels: the first evaluation and the last
    swatches = 2 * classes
    assert page.counts["rect"] == swatches + classes * subsets + classes * evaluations
    assert page.counts["img"] == 2 * 6
    for value in trained.history[-1]["miou"].values():
        assert f"{value:.3f}" in page.text
    assert f"{np.mean([*trained.history[-1]['miou'].values()]):.3f}" in page.text
    assert COMMAND in page.text
    assert "evaluate_every: 4" in page.text


def test_the_pictures_can_be_seen(page: Page) -> None:
    for address in page.addresses:
        data = base64.b64decode(address.partition(",")[2])
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape == (64, 96, 3)


def test_a_browser_shows_all_figures_and_complains_of_nothing(trained: Trainer, tmp_path: Path) -> None:
    seen = browse(trained.output / "report.html", tmp_path)
    assert seen.console == []
    assert seen.width <= 1200
    assert [figure.kind for figure in seen.figures] == ["svg"] * 4 + ["img"] * 12
    for figure in seen.figures:
        assert figure.width > 100
        assert figure.height > 50
        if figure.kind == "svg":
            assert seen.contrast(figure) > 5
        else:
            assert figure.natural_width == 96  # what it shows may be of one color


def test_no_reader_is_kept_out(trained: Trainer, tmp_path: Path, axe: Path) -> None:
    seen = browse(trained.output / "report.html", tmp_path, 400, axe=axe)
    assert seen.findings == []
    assert seen.width <= 400
    assert seen.least_text >= 10


def test_without_pseudo_labels_nothing_is_said_about_them(tmp_path: Path) -> None:
    trained = train(tmp_path, method={})
    page = Page(write_report(trained, provenance(trained)).read_text())
    assert "Pseudo labels kept" not in page.text
    assert page.counts["polyline"] == 4 + 2  # the loss is its only term
    assert page.open == []


def test_the_terms_of_start_weights_are_told_at_the_top(trained: Trainer) -> None:
    terms = StartWeights(source="hub/x", licence="Some-1.0", commercial=False, notice="Not <for> sale.")
    page = Page(to_html(to_dict(trained, provenance(trained, terms)), []))
    assert page.text.index("Not <for> sale.") < page.text.index("Validation mIoU")
    assert "hub/x, Some-1.0" in page.text


def test_waiting_for_data_comes_with_advice(report: dict[str, Any]) -> None:
    assert "--workers" not in Page(to_html(report | {"waiting_for_data": 0.1}, [])).text
    assert "--workers" in Page(to_html(report | {"waiting_for_data": 0.5}, [])).text


def test_a_report_that_cannot_be_written_leaves_the_former_one(
    trained: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "output", tmp_path)
    former = write_report(trained, provenance(trained)).read_text()

    def full(self: Path, *arguments: Any, **settings: Any) -> int:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_report(trained, provenance(trained))
    assert (tmp_path / "report.html").read_text() == former
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "report.html"}
