"""A small document with every kind of block, for the tests of its writers."""

from __future__ import annotations

import io
from dataclasses import replace

from PIL import Image

from echoapex.io.document import (
    Block,
    Cell,
    Columns,
    Document,
    Heading,
    Illustration,
    Plot,
    PlotMark,
    Table,
    Text,
    Together,
)

NOTICE = "not for diagnosis"
PLOT = Plot(
    "LV volume, mL", ((0.0, 120.0), (0.4, 50.0)), (PlotMark(0.0, 120.0, "ED", "#0b7285"),), (0.1, 7.0), "R waves"
)
TRACED = replace(PLOT, trace=((-0.1, 0.0), (0.0, 0.0), (0.1, 1.0), (0.2, -0.2), (0.5, 0.0)), trace_name="ECG")


def jpeg() -> bytes:
    """A blue picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 20), (10, 120, 200)).save(buffer, format="jpeg")
    return buffer.getvalue()


def small_document(rows: int = 3) -> Document:
    """A document whose summary and evidence have so many rows."""
    cells = tuple((Cell(f"value {n}", link=f"v{n}"), Cell(f"{n} <mL> & more")) for n in range(rows))
    table = Table(("Name", "Value"), ((Cell("A group"),), *cells), (0.4, 0.6), numbers=(1,))
    picture = Illustration(jpeg(), (20, 40), "the clip", link="c1")
    body: tuple[Block, ...] = (
        Heading("Evidence", 1, "c1"),
        Together((Columns((picture, PLOT), (Text("beside it", term="Note:"),), 0.6),)),
        Table((), tuple((Cell(f"evidence {n}", anchor=f"v{n}"), Cell("")) for n in range(rows)), (0.5, 0.5)),
    )
    summary = (Text("a & b < c"), Columns((table,), (picture, PLOT), 0.6))
    return Document("The title", "subtitle", NOTICE, "study 12ab", summary, body)
