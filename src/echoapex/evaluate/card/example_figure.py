"""The figure of examples: frames with the true and the written outline, best, median and worst of each structure."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from echoapex.evaluate.card.card_file import Example, Point
from echoapex.evaluate.card.drawing import svg, text
from echoapex.evaluate.card.errors import CardError
from echoapex.evaluate.card.views_figures import view_label

_SIDE, _GAP, _HEAD, _FOOT = 158, 6, 24, 18
_GROUP_GAP = 24
_RANKS = ("best", "median", "worst")


def draw_examples_figure(examples: Sequence[Example], folder: Path) -> str:
    """All examples of one part, two structures in a row; the pictures are read from the folder of the card.

    Raises:
        CardError: a picture is gone.
    """
    structures = list(dict.fromkeys(example.structure for example in examples))
    group_width = 3 * _SIDE + 2 * _GAP
    row_height = _HEAD + _SIDE + _FOOT + 14
    parts: list[str] = []
    for number, structure in enumerate(structures):
        left, top = (number % 2) * (group_width + _GROUP_GAP), (number // 2) * row_height
        parts.append(text(left, top + 14, structure.display_name, "title"))
        for example in (each for each in examples if each.structure is structure):
            x = left + _RANKS.index(example.rank) * (_SIDE + _GAP)
            parts += _picture(example, folder, x, top + _HEAD)
    columns, rows = min(len(structures), 2), -(-len(structures) // 2)
    width = columns * group_width + (columns - 1) * _GROUP_GAP
    return svg(width, rows * row_height - 8, parts, f"Examples of outlines, {examples[0].part}")


def _picture(example: Example, folder: Path, x: float, y: float) -> list[str]:
    path = folder / example.picture
    try:
        content = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise CardError(f"{path}: cannot be read ({error.strerror}); make the card again") from error
    scale = _SIDE / example.size
    said = f"{example.rank}: Dice {example.dice:.3f}, {example.clip}, frame {example.frame}"
    return [
        f'<g transform="translate({x:g} {y:g}) scale({scale:.5f})"><title>{escape(said)}</title>',
        f'<image width="{example.size}" height="{example.size}" href="data:image/jpeg;base64,{content}"/>',
        f'<path d="{_path(example.written_outlines)}" class="written"/>',
        f'<path d="{_path(example.true_outlines)}" class="truth"/></g>',
        text(x, y + _SIDE + 13, f"{example.rank} {example.dice:.3f}", "cell"),
        text(x + 6, y + 15, "" if example.written_outlines else "nothing written", "onpicture"),
        text(
            x + _SIDE,
            y + _SIDE + 13,
            view_label(example.view.value) if example.view is not None else "",
            "small",
            "end",
        ),
    ]


def _path(outlines: Sequence[Sequence[Point]]) -> str:
    return "".join("M" + "L".join(f"{x:g} {y:g}" for x, y in outline) + "Z" for outline in outlines)
