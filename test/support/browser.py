"""Pages are opened in a real browser without a window: what it complains of, and what is to be seen."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_LONGEST_S = 100
_NARROWEST = 500
"""Width of a window; what is narrower is a frame in it."""
_AXE = "axe-core@4.14.1"
_LOOK = """<script>addEventListener("load", async () => {
  const figures = [...document.querySelectorAll("main svg:not(svg svg, .lanes), main img")].map(figure => {
    const box = figure.getBoundingClientRect();
    return [figure.localName, box.left, box.top, box.width, box.height, figure.naturalWidth ?? -1];
  });
  const sizes = [...document.querySelectorAll("main *")].filter(element =>
    element.localName !== "title" && element.getBoundingClientRect().width &&
    [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.textContent.trim())
  ).map(element => {
    const size = parseFloat(getComputedStyle(element).fontSize);
    return element.ownerSVGElement ? size * element.getScreenCTM().a : size;
  });
  const found = window.axe ? (await axe.run(document, { resultTypes: ["violations"] })).violations : [];
  const findings = found.map(rule => `${rule.impact}: ${rule.id}: ${rule.nodes[0].html}`);
  const width = document.documentElement.scrollWidth;
  parent.document.body.dataset.seen = JSON.stringify({ figures, width, least_text: Math.min(...sizes), findings });
});</script>"""


@dataclass(frozen=True)
class SeenFigure:
    """A drawing or a picture on a page, in pixels from its upper left corner."""

    kind: str
    """svg or img."""
    left: float
    top: float
    width: float
    height: float
    natural_width: int
    """Of a picture; 0 if it cannot be shown."""


@dataclass(frozen=True)
class SeenPage:
    """A page as its reader sees it."""

    console: list[str]
    """Of its own messages and the browser's complaints."""
    figures: list[SeenFigure]
    width: int
    """Of the page, more than the window's if it must be scrolled sideways."""
    picture: NDArray[np.uint8]
    """(H, W, 3) BGR, from the top."""
    least_text: float
    """Height of the smallest letters in pixels, as their font has it."""
    findings: list[str]
    """What axe-core finds that keeps readers out, if it was asked."""

    def contrast(self, figure: SeenFigure) -> float:
        """Of what is drawn at the place of a figure: the standard deviation of its colors, 0 where it is blank."""
        top, left = max(0, round(figure.top)), max(0, round(figure.left))
        part = self.picture[top : top + round(figure.height), left : left + round(figure.width)]
        return float(part.std(axis=(0, 1)).max()) if part.size else 0.0


def axe_core(folder: Path) -> Path:
    """The script of axe-core (Deque, MPL-2.0), from npm into ``folder`` unless it is there; the test is skipped if it
    cannot be had.
    """
    script = folder / "package" / "axe.min.js"
    if script.is_file():
        return script
    if (npm := shutil.which("npm")) is None:
        pytest.skip("needs npm, which brings axe-core: apt install npm")
    try:
        ended = subprocess.run([npm, "pack", "--silent", _AXE], cwd=folder, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip(f"needs {_AXE}, which npm did not fetch within a minute")
    if ended.returncode:
        pytest.skip(f"needs {_AXE}, which npm cannot fetch: {ended.stderr[-300:]}")
    with tarfile.open(folder / ended.stdout.strip()) as archive:
        content = archive.extractfile("package/axe.min.js")
        assert content is not None
        script.parent.mkdir(exist_ok=True)
        script.write_bytes(content.read())
    return script


def browse(
    page: Path, folder: Path, width: int = 1200, height: int = 6000, *, dark: bool = False, axe: Path | None = None
) -> SeenPage:
    """Open a copy of a page, with all that it folds unfolded, in a window of that size; the test is skipped if there
    is no browser.

    Args:
        page: the page.
        folder: for what the browser leaves.
        width: of the window, in pixels.
        height: as much of the page is drawn.
        dark: whether the reader prefers light letters on dark ground.
        axe: script of axe-core, which looks at the page.
    """
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip(f"needs a browser, one of {', '.join(_NAMES)}: apt install chromium")
    copy, screenshot = folder / "seen.html", folder / "seen.png"
    text = page.read_text(encoding="utf-8")
    look = _LOOK if axe is None else f"<script>{axe.read_text(encoding='utf-8')}</script>{_LOOK}"
    text = re.sub(r"<details(?! open)", "<details open", text).replace("</main>", f"</main>{look}")
    if width < _NARROWEST:
        frame = f'style="border: 0; width: {width}px; height: {height}px" srcdoc="{html.escape(text)}"'
        text = f'<!DOCTYPE html><body style="margin: 0"><iframe {frame}></iframe></body>'
    copy.write_text(text, "utf-8")
    ended = subprocess.run(
        [
            *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--enable-logging=stderr", "--v=0", f"--user-data-dir={folder / 'browser'}"),
            *(f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--virtual-time-budget=30000"),
            *(f"--window-size={width},{height}", f"--screenshot={screenshot}", "--dump-dom", copy.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=_LONGEST_S,
        check=True,
    )
    seen = re.search(r'<body[^>]* data-seen="([^"]*)"', ended.stdout)
    assert seen is not None, f"the page was not loaded: {ended.stderr[-2000:]}"
    found = json.loads(html.unescape(seen[1]))
    console = re.findall(r":CONSOLE[:(]\d+\)?\] (.*)", ended.stderr)
    picture = np.asarray(cv2.imread(str(screenshot)), np.uint8)
    figures = [SeenFigure(*figure) for figure in found["figures"]]
    return SeenPage(console, figures, found["width"], picture, found["least_text"], found["findings"])
