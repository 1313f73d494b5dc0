"""``preview.png``: the study on one sheet: its values at the top, one tile per clip below."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from echoapex.domain import ClipReport, Measurement, StudyReport
from echoapex.domain.results import DISCLAIMER
from echoapex.infer.outputs.clip_pictures import (
    TILE_FOLDER,
    TILE_HEIGHT,
    TILE_WIDTH,
    clip_lines,
    short_name,
    value_text,
    view_text,
)
from echoapex.io.pictures import (
    BACKGROUND,
    MUTED,
    PANEL,
    RULE,
    TEXT,
    WARNING,
    Line,
    Pixels,
    blank,
    shortened,
    text_width,
    write_lines,
)
from echoapex.io.temporary_files import replace_when_complete
from echoapex.vocabulary import Quantity, View

FILE_NAME = "preview.png"
MOST_TILES = 60
"""Largest number of clips on the sheet; clips with measurements come first, the others are only in ``results.json``."""

_MARGIN, _GAP = 28, 18
_CAPTION_HEIGHT = 84
_CARD_HEIGHT, _CARD_WIDTH = 78, 164
_MOST_COLUMNS = 3
_CARDS = (
    Quantity.LVEF,
    Quantity.LVEF_DISCS,
    Quantity.EDV,
    Quantity.ESV,
    Quantity.IVSD,
    Quantity.LVIDD,
    Quantity.LVPWD,
    Quantity.LV_MASS_INDEX,
    Quantity.LV_MASS,
    Quantity.RWT,
    Quantity.GLS_ENDOCARDIAL,
    Quantity.STROKE_VOLUME,
    Quantity.CARDIAC_OUTPUT,
    Quantity.LA_VOLUME,
    Quantity.LA_VOLUME_INDEX,
    Quantity.RA_VOLUME,
    Quantity.RV_ED_AREA,
    Quantity.RV_FAC,
    Quantity.HEART_RATE,
)


def write_preview(out: Path, report: StudyReport) -> Path:
    """Compose the sheet from the tiles of the clips; a clip without a tile gets a dark tile."""
    clips = sorted(report.clips, key=_importance)[:MOST_TILES]
    columns = max(1, min(_MOST_COLUMNS, math.ceil(math.sqrt(len(clips)))))
    width = max(2 * _MARGIN + columns * TILE_WIDTH + (columns - 1) * _GAP, 2 * _MARGIN + 4 * (_CARD_WIDTH + _GAP))
    studies = values_by_study(report)
    parts = [_head(report, len(studies), width)]
    for number, (study, measurements) in enumerate(studies.items(), start=1):
        parts += [_study_name(number, study, width)] if len(studies) > 1 else []
        parts.append(_cards(measurements, report.lvh.category if len(studies) == 1 else None, width))
    tiles = [_tile(out, clip, _study_of(clip, studies)) for clip in clips]
    parts += [_row(tiles[first : first + columns], width) for first in range(0, len(tiles), columns)]
    parts.append(_foot(report, len(clips), width))
    with replace_when_complete(out / FILE_NAME) as partial:
        Image.fromarray(np.concatenate(parts)).save(partial, format="png")
    return out / FILE_NAME


def values_by_study(report: StudyReport) -> dict[str, list[Measurement]]:
    """The values of each study by its pseudonym ("" if there is only one), in the order of the report."""
    studies: dict[str, list[Measurement]] = {}
    for item in report.measurements:
        studies.setdefault(str(item.details.get("study", "")), []).append(item)
    return studies or {"": []}


def _study_of(clip: ClipReport, studies: Mapping[str, Sequence[Measurement]]) -> str:
    """``study 2`` for a clip that contributes to the second study; empty if there is only one study."""
    if len(studies) < 2:
        return ""
    for number, measurements in enumerate(studies.values(), start=1):
        if any(evidence.clip_id == clip.clip_id for item in measurements for evidence in item.evidence):
            return f"study {number}"
    return ""


def _study_name(number: int, study: str, width: int) -> Pixels:
    return write_lines(blank(30, width), [Line(_MARGIN, 2, f"Study {number}   ·   {study}", 15, TEXT)])


def _importance(clip: ClipReport) -> tuple[bool, bool, int]:
    """Measured clips first, in the order of the views; what was set aside last."""
    order = list(View).index(clip.view) if clip.view else len(View)
    return clip.set_aside != "", not clip.measurements, order


def _head(report: StudyReport, studies: int, width: int) -> Pixels:
    views = len({clip.view for clip in report.clips if clip.view})
    analysed = sum(1 for clip in report.clips if not clip.set_aside)
    aside = len(report.clips) - analysed
    counts = [f"{analysed} clip{'s' if analysed != 1 else ''} analysed", f"{views} view{'s' if views != 1 else ''}"]
    counts = [f"{studies} studies, never averaged together", *counts] if studies > 1 else counts
    counts += [f"{aside} set aside"] if aside else []
    counts += [f"{len(report.errors)} failed"] if report.errors else []
    head = blank(92, width)
    lines = [
        Line(_MARGIN, 22, "EchoApex", 26, TEXT),
        Line(_MARGIN, 58, "   ·   ".join(counts), 14, MUTED),
    ]
    notice = shortened(DISCLAIMER, 12, width - 2 * _MARGIN - text_width("EchoApex", 26) - 40)
    lines.append(Line(width - _MARGIN - text_width(notice, 12), 32, notice, 12, WARNING))
    return write_lines(head, lines)


def _cards(measurements: Sequence[Measurement], geometry: str | None, width: int) -> Pixels:
    """The values of one study, one card each, and the LV geometry."""
    found = {item.quantity: item for item in measurements}
    cards = [found[quantity] for quantity in _CARDS if quantity in found]
    per_row = max(1, (width - 2 * _MARGIN + _GAP) // (_CARD_WIDTH + _GAP))
    rows = math.ceil(len(cards) / per_row)
    strip = blank(rows * (_CARD_HEIGHT + _GAP) + (30 if geometry else 0) + 6, width)
    lines: list[Line] = []
    for number, measurement in enumerate(cards):
        x = _MARGIN + number % per_row * (_CARD_WIDTH + _GAP)
        y = number // per_row * (_CARD_HEIGHT + _GAP)
        cv2.rectangle(strip, (x, y), (x + _CARD_WIDTH, y + _CARD_HEIGHT), PANEL, -1)
        lines += _card_lines(measurement, x, y)
    if geometry:
        lines.append(Line(_MARGIN, rows * (_CARD_HEIGHT + _GAP), f"LV geometry: {geometry}", 15, TEXT))
    return write_lines(strip, lines)


def _card_lines(measurement: Measurement, x: int, y: int) -> list[Line]:
    interval = measurement.interval
    below = f"{interval[0]:.0f} to {interval[1]:.0f} (95 %)" if interval else measurement.method
    return [
        Line(x + 12, y + 9, short_name(measurement.quantity), 12, MUTED),
        Line(x + 12, y + 25, value_text(measurement), 22, TEXT),
        Line(x + 12, y + 56, shortened(below, 11, _CARD_WIDTH - 20), 11, MUTED),
    ]


def _tile(out: Path, clip: ClipReport, study: str) -> Pixels:
    try:
        picture = np.asarray(Image.open(out / TILE_FOLDER / f"{clip.clip_id}.png").convert("RGB"))
    except OSError:
        picture = blank(TILE_HEIGHT, TILE_WIDTH, (0, 0, 0))
    if picture.shape != (TILE_HEIGHT, TILE_WIDTH, 3):
        picture = cv2.resize(picture, (TILE_WIDTH, TILE_HEIGHT), interpolation=cv2.INTER_AREA)
    caption = blank(_CAPTION_HEIGHT, TILE_WIDTH, PANEL)
    inner = TILE_WIDTH - 24
    name_width = 190
    lines = [Line(12, 8, shortened(view_text(clip), 15, inner - name_width), 15, WARNING if clip.set_aside else TEXT)]
    name = shortened(f"{study}   {clip.file}" if study else clip.file, 11, name_width)
    lines.append(Line(TILE_WIDTH - 12 - text_width(name, 11), 11, name, 11, MUTED))
    for number, text in enumerate(clip_lines(clip)):
        lines.append(Line(12, 32 + 22 * number, shortened(text, 13, inner), 13, TEXT if not clip.set_aside else MUTED))
    return write_lines(np.concatenate([picture, caption]), lines=[_lowered(line) for line in lines])


def _lowered(line: Line) -> Line:
    return line._replace(y=line.y + TILE_HEIGHT)


def _row(tiles: Sequence[Pixels], width: int) -> Pixels:
    row = blank(TILE_HEIGHT + _CAPTION_HEIGHT + _GAP, width, BACKGROUND)
    for number, tile in enumerate(tiles):
        x = _MARGIN + number * (TILE_WIDTH + _GAP)
        row[: tile.shape[0], x : x + TILE_WIDTH] = tile
        cv2.rectangle(row, (x, 0), (x + TILE_WIDTH - 1, tile.shape[0] - 1), RULE, 1)
    return row


def _foot(report: StudyReport, shown: int, width: int) -> Pixels:
    hidden = len(report.clips) - shown
    texts = [f"echoapex {report.echoapex_version}"]
    if any(measurement.flags for measurement in _all_measurements(report)):
        texts.append("* look twice: the flags and their reasons are in results.json")
    if hidden > 0:
        texts.append(f"{hidden} more clips in results.json")
    return write_lines(blank(48, width), [Line(_MARGIN, 14, "   ·   ".join(texts), 12, MUTED)])


def _all_measurements(report: StudyReport) -> list[Measurement]:
    return [*report.measurements, *(item for clip in report.clips for item in clip.measurements)]
