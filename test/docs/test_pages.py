"""README and docs: links lead somewhere, what is shown is what lies in the repository, and it stays short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from support.markdown import PAGES, ROOT, anchors, blocks, links, place, prose

from m3l_core.inspection.inspection import load_task
from m3l_core.trainer.recipe import Recipe

each_page = pytest.mark.parametrize("page", PAGES, ids=place)
SNIPPETS = sorted((ROOT / "docs" / "snippets").glob("*.py"))


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        target, _, anchor = link.partition("#")
        if ":" in target:
            continue  # the web's
        file = (page.parent / target).resolve() if target else page
        if not file.exists():
            broken.append(f"{link}: no such file")
        elif anchor and anchor not in anchors(file):
            broken.append(f"{link}: {target or 'the page'} has no such heading")
    assert not broken, f"{place(page)}: {broken}"


def test_every_page_is_linked_from_the_readme_or_from_a_page_that_is() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            targets = [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if ":" not in link]
            waiting += [target for target in targets if target in PAGES]
    assert reached == set(PAGES)


@each_page
def test_files_that_a_page_names_exist(page: Path) -> None:
    """Names in backticks that begin with a folder of the repository."""
    named = re.findall(
        r"`((?:m3l_core|m3l_ros|training|benchmarks|config|test|scripts|launch|docs)/[\w/.-]+)`", prose(page)
    )
    missing = [name for name in named if "NAME" not in name and not (ROOT / name).exists()]
    assert not missing, f"{place(page)} names {missing}"


@each_page
def test_paragraphs_are_short(page: Path) -> None:
    paragraphs = re.split(r"\n\s*\n|\n(?=\s*(?:[-*|#<]|\d+\.) ?)", prose(page))
    long = [text.strip().splitlines()[0] for text in paragraphs if len(text.strip().splitlines()) > 5]
    assert not long, f"{place(page)}: part the paragraphs that begin so: {long}"


def test_the_readme_is_read_in_minutes() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


@each_page
def test_python_is_shown_as_it_lies_in_the_snippets(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            assert block.comment, f"{block.name}: put the code into docs/snippets and its path into a comment above"
            assert block.text == (ROOT / block.comment).read_text(encoding="utf-8"), f"{block.name}: {block.comment}"


def test_every_snippet_is_shown() -> None:
    shown = {block.comment for page in PAGES for block in blocks(page)}
    assert {place(path) for path in SNIPPETS} <= shown


def test_the_classes_that_the_training_page_shows_are_read(tmp_path: Path) -> None:
    page = blocks(ROOT / "docs" / "training.md")
    (shown,) = [block.text for block in page if block.language == "yaml" and block.text.startswith("labels:")]
    (tmp_path / "labels.yaml").write_text(shown)
    task = load_task(tmp_path / "labels.yaml", Recipe.model_fields)
    assert task.labels is not None and len(task.labels) == len(yaml.safe_load(shown)["labels"]["classes"])


def test_settings_that_the_node_page_names_are_in_the_parameter_file() -> None:
    page = ROOT / "docs" / "node.md"
    table = page.read_text(encoding="utf-8").split("| to | set |")[1].split("\n\n")[0]
    named = re.findall(r"`([\w.]+)(?:: [^`]+)?`", table)
    known = yaml.safe_load((ROOT / "config" / "segment.yaml").read_text())["/**"]["ros__parameters"]
    for name in named:
        where = known
        for part in name.split("."):
            assert part in where, f"{name} is no parameter"
            where = where[part]
    assert len(named) > 10
