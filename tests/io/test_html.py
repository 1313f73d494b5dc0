from __future__ import annotations

import base64
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_documents import NOTICE, PLOT, TRACED, jpeg, small_document

from echoapex.io.document import TRACE_INK, Document, Dot, Label, Plot, Stroke, draw_plot, nice_ticks, plot_height
from echoapex.io.html import html_text, write_html

VOID = {"meta", "img", "col", "circle", "polyline"}


class Outline(HTMLParser):
    """The tags of a page, its names, its links and its text; fails where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.names: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            wanted = {"id": self.names, "href": self.links, "src": self.sources}.get(name)
            if wanted is not None:
                wanted.append(value or "")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_well_formed_and_every_link_leads_somewhere() -> None:
    page = Outline(html_text(small_document(5)))
    assert len(page.names) == len(set(page.names))
    assert page.links
    assert {link.removeprefix("#") for link in page.links} <= set(page.names)


def test_nothing_is_fetched_and_nothing_runs() -> None:
    text = html_text(small_document())
    page = Outline(text)
    assert not {"script", "iframe", "link", "object", "form"} & set(page.tags)
    assert page.sources == [f"data:image/jpeg;base64,{base64.b64encode(jpeg()).decode()}"] * 2
    assert not re.findall(r"https?://|@import|url\(", text)
    assert "default-src 'none'" in text


def test_text_is_escaped_and_the_notice_is_on_every_part() -> None:
    text = html_text(small_document())
    assert "2 &lt;mL&gt; &amp; more" in text
    page = Outline(text)
    assert "a & b < c" in page.text
    assert page.text.count(NOTICE) == 2 * text.count('<section class="page">')


@pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("pdftotext")),
    reason="needs chromium and pdftotext, from the Debian packages chromium and poppler-utils",
)
def test_every_printed_page_has_the_notice(tmp_path: Path) -> None:
    page, printed = write_html(tmp_path / "page.html", small_document(120)), tmp_path / "printed.pdf"
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [*browser, "--no-pdf-header-footer", f"--print-to-pdf={printed}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    text = subprocess.run(["pdftotext", printed, "-"], check=True, capture_output=True, text=True).stdout
    pages = text.removesuffix("\f").split("\f")
    assert len(pages) > 3
    assert all(NOTICE in each for each in pages)


def test_the_same_document_gives_the_same_text() -> None:
    assert html_text(small_document()) == html_text(small_document())


@pytest.mark.parametrize("size", [(520.0, 88.0), (150.0, 92.0)])
def test_all_of_a_plot_is_inside_its_box(size: tuple[float, float]) -> None:
    width, height = size
    shapes = draw_plot(PLOT, *size)
    points = [point for shape in shapes if isinstance(shape, Stroke) for point in shape.points]
    points += [(shape.x, shape.y) for shape in shapes if isinstance(shape, Dot | Label)]
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
    curve = next(shape for shape in shapes if isinstance(shape, Stroke) and shape.width > 1)
    assert len(curve.points) == 2
    assert curve.points[0][1] < curve.points[1][1], "the larger volume is higher up"
    events = [shape for shape in shapes if isinstance(shape, Stroke) and shape.colour == "#7a4fa3"]
    assert len(events) == 1, "the R wave after the clip is not drawn"


@pytest.mark.parametrize("width", [520.0, 150.0])
def test_an_ecg_is_below_the_curve_on_the_same_time_axis(width: float) -> None:
    height = plot_height(TRACED, 88.0)
    assert height > plot_height(PLOT, 88.0) == 88.0
    shapes = draw_plot(TRACED, width, height)
    strokes = [shape for shape in shapes if isinstance(shape, Stroke)]
    assert all(0 <= x <= width and 0 <= y <= height for shape in strokes for x, y in shape.points)
    curve = next(shape for shape in strokes if shape.width > 1)
    trace = next(shape for shape in strokes if shape.colour == TRACE_INK)
    assert len(trace.points) == 3, "only what lies between the first and the last volume"
    assert min(y for _, y in trace.points) > max(y for _, y in curve.points)
    assert trace.points[1][1] < trace.points[0][1] < trace.points[2][1], "the R wave points up"
    (r_wave,) = [shape for shape in strokes if shape.colour == "#7a4fa3"]
    assert r_wave.points[0][0] == pytest.approx(trace.points[1][0]), "the R wave at 0.1 s is where the trace peaks"
    assert r_wave.points[1][1] > max(y for _, y in trace.points)
    assert [shape.text for shape in shapes if isinstance(shape, Label)].count("ECG") == 1


def test_the_picture_of_a_plot_with_an_ecg_is_taller() -> None:
    def box(plot: Plot) -> float:
        text = html_text(Document("t", "", NOTICE, "n", (plot,), ()))
        return float(text.split('viewBox="0 0 ')[1].split('"')[0].split()[1])

    assert box(TRACED) > box(PLOT)


def test_a_flat_curve_can_be_drawn() -> None:
    assert draw_plot(Plot("flat", ((0.0, 0.0), (1.0, 0.0))), 300, 90)


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.003), (0.0, 1.0), (2.5, 1240.0), (0.0, 0.0)])
def test_ticks_are_round_few_and_inside(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert 1 <= len(ticks) <= 6
    assert all(low <= tick <= high for tick in ticks)
