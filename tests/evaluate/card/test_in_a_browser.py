"""The page in a real browser: nothing sticks out to the right, on a phone or on a desk."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from card_parts import make_part

from echoapex.evaluate.card.build import CardContent, build_card
from echoapex.evaluate.card.page import draw_figures, write_page
from echoapex.vocabulary import View

# headless browsers have a least width, an inner frame has none
FRAME = """<!doctype html><body><iframe id="page" src="card.html" style="width: {width}px; height: 800px; border: 0">
</iframe><script>document.getElementById("page").onload = function () {{
  const page = this.contentDocument.documentElement, wide = [];
  for (const each of page.querySelectorAll("main *"))
    if (!each.closest("svg, .wide table:not(.subtasks, .parts), .figures.clicks, .figures.examples") &&
        each.getBoundingClientRect().right > page.clientWidth + 1) wide.push(each.tagName + "." + each.className);
  const told = "hangs over by " + (page.scrollWidth - page.clientWidth) + ": " + wide.join(" ") + ";";
  document.body.textContent = told + " title is " + getComputedStyle(page.querySelector("h1")).color;
}}</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    return found


@pytest.mark.parametrize("width", [360, 700, 1100])
def test_nothing_sticks_out(tmp_path: Path, browser: str, width: int) -> None:
    shown = (View.A4C, View.PLAX, View.TEE_4C)
    parts = [
        make_part(
            tmp_path / "a", "phantom", shown=shown, mass=[("M", 100.0), ("F", 100.0), ("M", 120.0), ("M", 130.0)]
        ),
        make_part(tmp_path / "b", "camus", "val", views={View.PLAX: None}),
    ]
    card = build_card(CardContent("A set of weights with a long name, and another one", parts))
    (tmp_path / "card.html").write_text(write_page(card, draw_figures(card, tmp_path)))
    (tmp_path / "frame.html").write_text(FRAME.format(width=width))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    options += ["--virtual-time-budget=5000", f"--user-data-dir={tmp_path / 'browser'}"]
    run = subprocess.run(
        [browser, *options, (tmp_path / "frame.html").as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    told = re.search(r"hangs over by (\d+): ([^;]*);", run.stdout)
    assert told is not None, run.stdout[:500]
    assert told.groups() == ("0", ""), "what sticks out is named"
    assert "title is rgb(27, 30, 35)" in run.stdout, "dark"
