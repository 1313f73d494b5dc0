"""The pages of a secondary capture: one of the study's values, then one for each clip with its outlines and values.

A page of a clip is the clip's tile with a head and a foot. Tiles are written for every clip. So no second pass over the
clip is needed, and the page shows as little as the preview: nothing outside the ultrasound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from echoapex.domain import ClipReport, StudyReport
from echoapex.domain.results import DISCLAIMER
from echoapex.infer.outputs.clip_pictures import (
    LOOK_TWICE,
    TILE_FOLDER,
    TILE_HEIGHT,
    TILE_SCALE,
    TILE_WIDTH,
    clip_lines,
    interval_text,
    short_name,
    tile_frames,
    value_text,
    view_text,
)
from echoapex.infer.outputs.files import read_masks
from echoapex.io.dicom.source_instance import SourceInstance
from echoapex.io.pictures import MUTED, TEXT, WARNING, Line, Pixels, blank, shortened, write_lines
from echoapex.io.report_values import FrameReference, ReportedValue, StudyValuesForDicom

_WIDTH, _IMAGE_HEIGHT = TILE_SCALE * TILE_WIDTH, TILE_SCALE * TILE_HEIGHT
_HEAD_HEIGHT, _FOOT_HEIGHT = 84, 116
_HEIGHT = _HEAD_HEIGHT + _IMAGE_HEIGHT + _FOOT_HEIGHT
_MARGIN = 24
_TITLE = "EchoApex: not verified, for research use only"
_COLUMNS, _ROW_HEIGHT = 2, 30
_MOST_ROWS = (_IMAGE_HEIGHT + _FOOT_HEIGHT - 48) // _ROW_HEIGHT


def compose_pages(out: Path, report: StudyReport, study: StudyValuesForDicom) -> list[Pixels]:
    """The pages of one study; a clip without a tile has none, and no page of a clip gives no page at all."""
    clips = [clip for clip in report.clips if clip.clip_id in study.sources]
    pages = [_clip_page(clip, tile) for clip in clips if (tile := _read_tile(out, clip.clip_id)) is not None]
    return [*_value_pages(study.values), *pages] if pages else []


def shown_frames(out: Path, report: StudyReport, sources: Mapping[str, SourceInstance]) -> list[FrameReference]:
    """The images and native frames that the pages show."""
    found = []
    for clip in report.clips:
        if clip.clip_id in sources and (out / TILE_FOLDER / f"{clip.clip_id}.png").is_file():
            frames = tile_frames(clip, tuple(read_masks(out, clip.clip_id)))
            found.append(FrameReference(sources[clip.clip_id], tuple(sorted(set(frames.values())))))
    return found


def _read_tile(out: Path, clip_id: str) -> Pixels | None:
    path = out / TILE_FOLDER / f"{clip_id}.png"
    if not path.is_file():
        return None
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _clip_page(clip: ClipReport, tile: Pixels) -> Pixels:
    lines = [*clip_lines(clip)[:2]]
    foot = [
        Line(_MARGIN, 14 + 32 * row, shortened(text, 20, _WIDTH - 2 * _MARGIN), 20) for row, text in enumerate(lines)
    ]
    if any("*" in text for text in lines):
        foot.append(Line(_MARGIN, 84, LOOK_TWICE, 15, WARNING))
    return np.concatenate(
        [_head(view_text(clip)), tile, write_lines(blank(_FOOT_HEIGHT, _WIDTH), [*foot, *_notice(_FOOT_HEIGHT)])]
    )


def _value_pages(values: Sequence[ReportedValue]) -> list[Pixels]:
    """The values in columns, on as many pages as they need."""
    on_one = _COLUMNS * _MOST_ROWS
    parts = [values[first : first + on_one] for first in range(0, len(values), on_one)]
    pages = []
    for part in parts:
        height = _HEIGHT - _HEAD_HEIGHT
        lines = _notice(height)
        for place, value in enumerate(part):
            item, view = value.measurement, f"  {value.view.value}" if value.view and value.coding else ""
            column, row = divmod(place, _MOST_ROWS)
            left, top = _MARGIN + column * (_WIDTH // _COLUMNS), 8 + row * _ROW_HEIGHT
            interval = interval_text(item)
            lines += [
                Line(left, top, short_name(item.quantity) + view, 18, MUTED),
                Line(left + 210, top, value_text(item), 18, WARNING if item.flags else TEXT),
                Line(left + 330, top + 2, f"95 %: {interval}" if interval else "", 15, MUTED),
            ]
        pages.append(
            np.concatenate([_head(f"Values of the study    {LOOK_TWICE}"), write_lines(blank(height, _WIDTH), lines)])
        )
    return pages


def _head(title: str) -> Pixels:
    return write_lines(
        blank(_HEAD_HEIGHT, _WIDTH), [Line(_MARGIN, 12, title, 26), Line(_MARGIN, 50, _TITLE, 17, WARNING)]
    )


def _notice(height: int) -> list[Line]:
    return [Line(_MARGIN + 160, height - 32, shortened(DISCLAIMER, 14, _WIDTH - 2 * _MARGIN - 160), 14, MUTED)]
