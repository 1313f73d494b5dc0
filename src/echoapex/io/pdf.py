"""A document as PDF, A4, with embedded fonts: a summary of one page, then the evidence, and a notice on every page.

The same document gives the same bytes: no date and no random identifier is written. The metadata hold the title and the
name of the study, nothing else. Needs reportlab, which the extra ``report`` brings.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import cache
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echoapex.io.document import (
    Block,
    Cell,
    Columns,
    Document,
    Dot,
    Heading,
    Illustration,
    Label,
    Plot,
    Stroke,
    Table,
    Text,
    Together,
    Tone,
    draw_plot,
    plot_height,
)
from echoapex.io.temporary_files import write_bytes_atomically

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

_REGULAR, _BOLD = "Vera", "VeraBd"
_MARGIN, _HEAD, _FOOT = 36.0, 34.0, 30.0
_SIZE, _SMALL = 7.2, 6.4
_GUTTER = 14.0
_PLOT_HEIGHT, _LABEL_SCALE = 92.0, 0.92
_TONES = {
    Tone.PLAIN: "#1b2430",
    Tone.MUTED: "#5b6775",
    Tone.GOOD: "#1d6b3a",
    Tone.WARNING: "#8a4b08",
    Tone.BAD: "#a11d2b",
}
_ACCENT = "#14507a"


class PdfError(ValueError):
    """A PDF that cannot be written; the message says what to do."""


def require_pdf() -> None:
    """Refuse to start where PDF cannot be written.

    Raises:
        PdfError: reportlab is not installed.
    """
    if find_spec("reportlab") is None:
        raise PdfError("the PDF report needs reportlab: pip install 'echoapex[report]'")


def write_pdf(path: Path, document: Document) -> Path:
    """Write a document as PDF.

    Raises:
        PdfError: reportlab is not installed.
    """
    return write_bytes_atomically(path, pdf_bytes(document))


def pdf_bytes(document: Document) -> bytes:
    """The PDF of a document; the same document gives the same bytes.

    Raises:
        PdfError: reportlab is not installed.
    """
    require_pdf()
    from reportlab.lib.pagesizes import A4
    from reportlab.platypus import BaseDocTemplate, Frame, KeepInFrame, PageBreak, PageTemplate

    _register_fonts()
    width, height = A4[0] - 2 * _MARGIN, A4[1] - 2 * _MARGIN - _HEAD - _FOOT
    buffer = io.BytesIO()
    template = BaseDocTemplate(
        buffer,
        pagesize=A4,
        title=f"{document.title}: {document.name}" if document.name else document.title,
        author="",
        subject=document.notice,
        creator="EchoApex",
        invariant=1,
        lang="en",
    )
    frame = Frame(_MARGIN, _MARGIN + _FOOT, width, height, leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0)
    template.addPageTemplates(PageTemplate("page", [frame], onPage=_furniture(document)))
    story: list[Any] = [KeepInFrame(width, height, _flowables(document.summary, width), mode="shrink")]
    if document.body:
        story += [PageBreak(), *_flowables(document.body, width)]
    template.build(story, canvasmaker=_counting_canvas())
    return buffer.getvalue()


@cache
def _register_fonts() -> None:
    """The fonts that come with reportlab (Bitstream Vera), so that the file looks the same everywhere."""
    from reportlab.lib.fonts import addMapping
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    for name in (_REGULAR, _BOLD):
        pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))
    for bold in (0, 1):
        for italic in (0, 1):
            addMapping(_REGULAR, bold, italic, _BOLD if bold else _REGULAR)


def _furniture(document: Document) -> Callable[[Any, Any], None]:
    """What is drawn on every page: title and notice at the top, study and notice at the bottom."""

    def draw(canvas: Any, template: Any) -> None:
        width, height = template.pagesize
        right = width - _MARGIN
        canvas.saveState()
        first = canvas.getPageNumber() == 1
        canvas.setFillColor(_ACCENT if first else _TONES[Tone.MUTED])
        canvas.setFont(_BOLD if first else _REGULAR, 14 if first else 8)
        canvas.drawString(_MARGIN, height - _MARGIN - 12, document.title)
        canvas.setFont(_REGULAR, 7)
        canvas.setFillColor(_TONES[Tone.MUTED])
        if first:
            canvas.drawString(_MARGIN, height - _MARGIN - 23, document.subtitle)
        canvas.setFont(_BOLD, 7)
        canvas.setFillColor(_TONES[Tone.WARNING])
        canvas.drawRightString(right, height - _MARGIN - 12, document.notice)
        canvas.setStrokeColor(_ACCENT)
        canvas.setLineWidth(1)
        canvas.line(_MARGIN, height - _MARGIN - 28, right, height - _MARGIN - 28)
        canvas.setLineWidth(0.4)
        canvas.line(_MARGIN, _MARGIN + 16, right, _MARGIN + 16)
        canvas.setFont(_REGULAR, 6.5)
        canvas.setFillColor(_TONES[Tone.MUTED])
        canvas.drawString(_MARGIN, _MARGIN + 6, document.name)
        canvas.drawCentredString(width / 2, _MARGIN + 6, document.notice)
        canvas.restoreState()

    return draw


@cache
def _counting_canvas() -> type[Any]:
    """A canvas that knows at its end how many pages there are."""
    from reportlab.pdfgen.canvas import Canvas

    class CountingCanvas(Canvas):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "initialFontName": _REGULAR})
            self._pages: list[dict[str, Any]] = []

        def showPage(self) -> None:
            self._pages.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for number, state in enumerate(self._pages, start=1):
                self.__dict__.update(state)
                self.setFont(_REGULAR, 6.5)
                self.setFillColor(_TONES[Tone.MUTED])
                right = self._pagesize[0] - _MARGIN
                self.drawRightString(right, _MARGIN + 6, f"page {number} of {len(self._pages)}")
                super().showPage()
            super().save()

    return CountingCanvas


def _flowables(blocks: Sequence[Block], width: float) -> list[Flowable]:
    return [flowable for block in blocks for flowable in _flow(block, width)]


def _flow(block: Block, width: float) -> list[Flowable]:
    from reportlab.platypus import Image, KeepTogether, Spacer

    match block:
        case Text():
            term = f"<b>{escape(block.term)}</b> " if block.term else ""
            return [_paragraph(f"{term}{escape(block.text)}", _SIZE, block.tone), Spacer(1, 2)]
        case Heading():
            name = f'<a name="{escape(block.anchor)}"/>' if block.anchor else ""
            size = 11 if block.level == 1 else 8.5
            heading = _paragraph(f'{name}<font color="{_ACCENT}"><b>{escape(block.text)}</b></font>', size)
            heading.keepWithNext = True
            heading.style.spaceBefore, heading.style.spaceAfter = (8, 3)
            return [heading]
        case Table():
            return [_table(block, width), Spacer(1, 4)]
        case Illustration():
            image = Image(io.BytesIO(block.jpeg), width, width * block.size[0] / block.size[1])
            caption = _paragraph(_linked(escape(block.caption), block.link), _SMALL, Tone.MUTED)
            return [image, Spacer(1, 1), caption, Spacer(1, 5)]
        case Plot():
            return [_curve_class()(block, width), Spacer(1, 4)]
        case Together():
            return [KeepTogether(_flowables(block.blocks, width))]
        case Columns():
            return [_columns(block, width)]


def _paragraph(markup: str, size: float, tone: Tone = Tone.PLAIN, align: int = 0) -> Any:
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph

    style = ParagraphStyle(
        "text",
        fontName=_REGULAR,
        fontSize=size,
        leading=1.25 * size,
        textColor=_TONES[tone],
        alignment=align,
        splitLongWords=1,
    )
    return Paragraph(markup, style)


def _linked(text: str, link: str) -> str:
    if not link or "." in link:  # a file beside this one may not be there any more
        return text
    return f'<a href="#{escape(link)}"><u color="#9aa5b1" width="0.3" offset="-1.2">{text}</u></a>'


def _cell(cell: Cell, align: int = 0) -> Any:
    name = f'<a name="{escape(cell.anchor)}"/>' if cell.anchor else ""
    text = _linked(escape(cell.text), cell.link)
    return _paragraph(name + (f"<b>{text}</b>" if cell.is_bold else text), _SIZE, cell.tone, align)


def _table(table: Table, width: float) -> Any:
    from reportlab.platypus import Table as FlowableTable

    right = 2
    rows: list[list[Any]] = []
    style: list[tuple[Any, ...]] = [
        ("FONTNAME", (0, 0), (-1, -1), _REGULAR),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("RIGHTPADDING", (0, 0), (-1, -1), 4),
        ("TOPPADDING", (0, 0), (-1, -1), 0.6),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1.4),
        ("LINEBELOW", (0, 0), (-1, -1), 0.25, "#e3e7eb"),
    ]
    if table.head:
        rows.append(
            [
                _paragraph(f"<b>{escape(title)}</b>", _SMALL, Tone.MUTED, right if n in table.numbers else 0)
                for n, title in enumerate(table.head)
            ]
        )
        style.append(("LINEBELOW", (0, 0), (-1, 0), 0.6, "#9aa5b1"))
    for row in table.rows:
        if len(row) == 1 and len(table.shares) > 1:
            heading = f'<font color="{_ACCENT}"><b>{escape(row[0].text)}</b></font>'
            style += [("SPAN", (0, len(rows)), (-1, len(rows))), ("TOPPADDING", (0, len(rows)), (-1, len(rows)), 3.5)]
            rows.append([_paragraph(heading, _SIZE), *[""] * (len(table.shares) - 1)])
        else:
            rows.append([_cell(cell, right if n in table.numbers else 0) for n, cell in enumerate(row)])
    if not rows:
        rows = [[""] * len(table.shares)]
    widths = [share * width for share in table.shares]
    return FlowableTable(rows, colWidths=widths, style=style, repeatRows=1 if table.head else 0, hAlign="LEFT")


def _columns(block: Columns, width: float) -> Any:
    from reportlab.platypus import Table as FlowableTable

    left = (width - _GUTTER) * block.left_share
    right = width - _GUTTER - left
    cells = [_flowables(block.left, left), "", _flowables(block.right, right)]
    style = [
        ("FONTNAME", (0, 0), (-1, -1), _REGULAR),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        *((f"{side}PADDING", (0, 0), (-1, -1), 0) for side in ("LEFT", "RIGHT", "TOP", "BOTTOM")),
    ]
    return FlowableTable([cells], colWidths=[left, _GUTTER, right], style=style, hAlign="LEFT")


@cache
def _curve_class() -> type[Any]:
    """A flowable that draws a plot on the canvas itself, because reportlab's own drawings use a font of their own."""
    from reportlab.platypus import Flowable

    class Curve(Flowable):  # type: ignore[misc]
        def __init__(self, plot: Plot, width: float) -> None:
            super().__init__()
            self.width, self.height = width, plot_height(plot, _PLOT_HEIGHT)
            self._shapes = draw_plot(plot, width, self.height)

        def draw(self) -> None:
            for shape in self._shapes:
                _draw_shape(self.canv, shape, self.height)

    return Curve


def _draw_shape(canvas: Any, shape: Stroke | Dot | Label, height: float) -> None:
    """Draw a shape of a box; y of a shape goes down from its top, that of a page up."""
    match shape:
        case Stroke():
            canvas.setStrokeColor(shape.colour)
            canvas.setLineWidth(shape.width)
            path = canvas.beginPath()
            path.moveTo(shape.points[0][0], height - shape.points[0][1])
            for x, y in shape.points[1:]:
                path.lineTo(x, height - y)
            canvas.drawPath(path)
        case Dot():
            canvas.setFillColor(shape.colour)
            canvas.circle(shape.x, height - shape.y, shape.radius, stroke=0, fill=1)
        case Label():
            canvas.setFillColor(shape.colour)
            canvas.setFont(_REGULAR, _LABEL_SCALE * shape.size)
            draw = {"end": canvas.drawRightString, "middle": canvas.drawCentredString}.get(
                shape.align, canvas.drawString
            )
            draw(shape.x, height - shape.y, shape.text)
