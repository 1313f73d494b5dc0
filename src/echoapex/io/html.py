"""A document as one HTML file without script or network: pictures and curves inside, a notice on each printed page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from echoapex.io.document import (
    Block,
    Cell,
    Columns,
    Document,
    Dot,
    Heading,
    Illustration,
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

_PLOT_WIDTH, _PLOT_HEIGHT = 520.0, 88.0
_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #e9edf0; color: #1b2430;
  font: 14px/1.4 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
main { max-width: 1000px; margin: 24px auto; }
section.page { background: #fff; padding: 30px 36px 18px; margin: 0 0 24px; border: 1px solid #d5dbe1; }
header { display: flex; justify-content: space-between; align-items: baseline; border-bottom: 2px solid #14507a;
  padding-bottom: 6px; margin-bottom: 12px; gap: 20px; }
h1 { font-size: 22px; margin: 0; color: #14507a; }
h2 { font-size: 17px; margin: 22px 0 6px; color: #14507a; }
h3 { font-size: 14px; margin: 14px 0 4px; color: #14507a; }
p { margin: 4px 0; font-size: 13px; }
.notice { color: #8a4b08; font-weight: 600; font-size: 12px; }
footer { font-size: 11.5px; color: #5b6775; }
footer div { border-top: 1px solid #d5dbe1; margin-top: 12px; padding-top: 5px; display: flex; gap: 20px;
  justify-content: space-between; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; font-size: 12.5px; margin: 4px 0 8px; }
th { text-align: left; font-weight: 600; color: #5b6775; border-bottom: 1px solid #9aa5b1; padding: 2px 6px 2px 0; }
td { border-bottom: 1px solid #e9edf0; padding: 2px 6px 2px 0; vertical-align: top; overflow-wrap: anywhere; }
th.number, td.number { text-align: right; }
td.group { font-weight: 600; color: #14507a; padding-top: 7px; border-bottom: 1px solid #d5dbe1; }
a { color: inherit; text-decoration: underline; text-decoration-color: #9aa5b1; text-underline-offset: 2px; }
.bold { font-weight: 600; }
.muted { color: #5b6775; } .good { color: #1d6b3a; } .warning { color: #8a4b08; } .bad { color: #a11d2b; }
.columns { display: flex; gap: 26px; align-items: flex-start; }
.columns > div { min-width: 0; }
figure { margin: 0 0 10px; }
figure img, figure svg { display: block; width: 100%; height: auto; }
figure img { background: #000; border-radius: 3px; }
figcaption { font-size: 11.5px; color: #5b6775; margin-top: 3px; }
:target { background: #fff3d6; }
@media screen and (max-width: 760px) { .columns { display: block; } .columns > div { width: auto !important; }
  section.page { padding: 18px; } }
@media print { body { background: #fff; font-size: 9.5px; print-color-adjust: exact; } p { font-size: 9.5px; }
  table { font-size: 9px; margin: 2px 0 4px; } th, td { padding: 0.5px 4px 0.5px 0; } h1 { font-size: 16px; }
  h2 { font-size: 12px; margin: 12px 0 3px; } h3 { font-size: 10.5px; margin: 8px 0 2px; }
  .notice { font-size: 8.5px; } footer, figcaption { font-size: 8px; } .columns { gap: 16px; }
  figure { margin: 0 0 5px; } main { margin: 0; max-width: none; }
  section.page { border: 0; padding: 0; margin: 0; break-after: page; display: table; width: 100%; }
  footer { display: table-footer-group; break-inside: avoid; } .together, tr { break-inside: avoid; }
  @page { size: A4; margin: 14mm 12mm 16mm; } }
"""


def write_html(path: Path, document: Document) -> Path:
    """Write a document as one HTML file."""
    return write_bytes_atomically(path, html_text(document).encode())


def html_text(document: Document) -> str:
    """The HTML of a document; the same document gives the same text."""
    title = escape(f"{document.title}: {document.name}" if document.name else document.title)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    summary, body = _blocks(document.summary), _blocks(document.body)
    pages = [summary, body] if document.body else [summary]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        "<main>\n"
        + "".join(_page(document, content, number, len(pages)) for number, content in enumerate(pages, start=1))
        + "</main>\n</body>\n</html>\n"
    )


def _page(document: Document, content: str, number: int, pages: int) -> str:
    head = f"<h1>{escape(document.title)}</h1>" if number == 1 else f'<div class="muted">{escape(document.title)}</div>'
    return (
        f'<section class="page">\n<header>{head}<div class="notice">{escape(document.notice)}</div></header>\n'
        + (f'<p class="muted">{escape(document.subtitle)}</p>\n' if number == 1 and document.subtitle else "")
        + f"{content}<footer><div><span>{escape(document.name)}</span><span>{escape(document.notice)}</span>"
        + f"<span>part {number} of {pages}</span></div></footer>\n</section>\n"
    )


def _blocks(blocks: Sequence[Block], share: float = 1.0) -> str:
    return "".join(_block(block, share) for block in blocks)


def _block(block: Block, share: float) -> str:
    match block:
        case Text():
            term = f'<span class="bold">{escape(block.term)}</span> ' if block.term else ""
            return f'<p class="{block.tone}">{term}{escape(block.text)}</p>\n'
        case Heading():
            name = f' id="{escape(block.anchor)}"' if block.anchor else ""
            tag = f"h{block.level + 1}"
            return f"<{tag}{name}>{escape(block.text)}</{tag}>\n"
        case Table():
            return _table(block)
        case Illustration():
            data = base64.b64encode(block.jpeg).decode()
            image = f'<img src="data:image/jpeg;base64,{data}" alt="{escape(block.caption)}">'
            return f"<figure>{image}<figcaption>{_linked(escape(block.caption), block.link)}</figcaption></figure>\n"
        case Plot():
            return f"<figure>{_svg(block, _PLOT_WIDTH * share)}</figure>\n"
        case Together():
            return f'<div class="together">{_blocks(block.blocks, share)}</div>\n'
        case Columns():
            left, right = f"{block.left_share:.0%}", f"{1 - block.left_share:.0%}"
            return (
                f'<div class="columns"><div style="width:{left}">{_blocks(block.left, block.left_share)}</div>'
                f'<div style="width:{right}">{_blocks(block.right, 1 - block.left_share)}</div></div>\n'
            )


def _table(table: Table) -> str:
    columns = "".join(f'<col style="width:{100 * share:.1f}%">' for share in table.shares)
    numbers = dict.fromkeys(table.numbers, ' class="number"')
    titles = "".join(f"<th{numbers.get(n, '')}>{escape(title)}</th>" for n, title in enumerate(table.head))
    head = f"<thead><tr>{titles}</tr></thead>" if table.head else ""
    rows = "".join(f"<tr>{_row(row, table)}</tr>\n" for row in table.rows)
    return f"<table><colgroup>{columns}</colgroup>{head}<tbody>\n{rows}</tbody></table>\n"


def _row(row: Sequence[Cell], table: Table) -> str:
    if len(row) == 1 and len(table.shares) > 1:
        return f'<td class="group" colspan="{len(table.shares)}">{_cell(row[0])}</td>'
    return "".join(
        f"<td{' class=' + chr(34) + 'number' + chr(34) if n in table.numbers else ''}>{_cell(cell)}</td>"
        for n, cell in enumerate(row)
    )


def _cell(cell: Cell) -> str:
    classes = " ".join(
        name for name, wanted in (("bold", cell.is_bold), (str(cell.tone), cell.tone is not Tone.PLAIN)) if wanted
    )
    text = _linked(escape(cell.text), cell.link)
    if not classes and not cell.anchor:
        return text
    name = f' id="{escape(cell.anchor)}"' if cell.anchor else ""
    return f"<span{name}" + (f' class="{classes}"' if classes else "") + f">{text}</span>"


def _linked(text: str, link: str) -> str:
    if not link:
        return text
    target = link if "." in link else f"#{link}"
    return f'<a href="{escape(target)}">{text}</a>'


def _svg(plot: Plot, width: float) -> str:
    parts = []
    height = plot_height(plot, _PLOT_HEIGHT)
    for shape in draw_plot(plot, width, height):
        match shape:
            case Stroke():
                points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
                parts.append(
                    f'<polyline points="{points}" fill="none" stroke="{shape.colour}" stroke-width="{shape.width:g}"/>'
                )
            case Dot():
                parts.append(
                    f'<circle cx="{shape.x:.1f}" cy="{shape.y:.1f}" r="{shape.radius:g}" fill="{shape.colour}"/>'
                )
            case _:
                parts.append(
                    f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" font-size="{shape.size:g}" fill="{shape.colour}" '
                    f'text-anchor="{shape.align}">{escape(shape.text)}</text>'
                )
    box = f"0 0 {width:g} {height:g}"
    return f'<svg viewBox="{box}" role="img" aria-label="{escape(plot.title)}">{"".join(parts)}</svg>'
