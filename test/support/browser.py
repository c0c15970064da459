"""Pages are opened in a real browser without a window: what it complains of, and what is to be seen."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_LONGEST_S = 100
_LOOK = """<script>addEventListener("load", () => {
  const figures = [...document.querySelectorAll("main svg:not(svg svg), main img")].map(figure => {
    const box = figure.getBoundingClientRect();
    return [figure.localName, box.left, box.top, box.width, box.height, figure.naturalWidth ?? -1];
  });
  document.body.dataset.seen = JSON.stringify({ figures, width: document.documentElement.scrollWidth });
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

    def contrast(self, figure: SeenFigure) -> float:
        """Of what is drawn at the place of a figure: the standard deviation of its colors, 0 where it is blank."""
        top, left = max(0, round(figure.top)), max(0, round(figure.left))
        part = self.picture[top : top + round(figure.height), left : left + round(figure.width)]
        return float(part.std(axis=(0, 1)).max()) if part.size else 0.0


def browse(page: Path, folder: Path, width: int = 1200, height: int = 6000) -> SeenPage:
    """Open a copy of a page, with all that it folds unfolded, in a window of that size; the test is skipped if there
    is no browser.
    """
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip(f"needs a browser, one of {', '.join(_NAMES)}: apt install chromium")
    copy, screenshot = folder / "seen.html", folder / "seen.png"
    text = page.read_text(encoding="utf-8")
    copy.write_text(re.sub(r"<details(?! open)", "<details open", text).replace("</main>", f"</main>{_LOOK}"), "utf-8")
    ended = subprocess.run(
        [
            *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--enable-logging=stderr", "--v=0", f"--user-data-dir={folder / 'browser'}"),
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
    return SeenPage(console, [SeenFigure(*figure) for figure in found["figures"]], found["width"], picture)
