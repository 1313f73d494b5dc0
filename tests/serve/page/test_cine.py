"""Pictures of clips: kept within bounds, black without a sector, the file format as the browser reads it."""

from __future__ import annotations

import json
import os
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
from page_client import PageClient
from PIL import Image

from echoapex.serve.page.cine import CINE_MAGIC, Cines, packed
from echoapex.serve.page.clip_inputs import ClipFacts


def test_what_was_not_used_for_longest_is_deleted(reviewed: PageClient, tmp_path: Path) -> None:
    study, parts = reviewed.study(), reviewed.parts
    first, second = parts.results.state(study).current.report.clips
    cines = Cines(tmp_path / "few", parts.inputs, parts.results, most_mb=0.001)
    old = cines.cine(study, first, 96)
    os.utime(old, (1, 1))
    new = cines.cine(study, second, 96)
    cines.close()
    assert new.is_file() and not old.exists()


def test_a_clip_without_a_sector_is_black(reviewed: PageClient, tmp_path: Path) -> None:
    study, parts = reviewed.study(), reviewed.parts
    report = parts.results.state(study).current.report.clips[0]
    facts = ClipFacts(frame_times_s=tuple(range(report.frames)))
    parts.results.keep(("facts", study, report.clip_id), lambda: facts)
    parts.results._kept[("facts", study, report.clip_id)] = facts
    cines = Cines(tmp_path / "black", parts.inputs, parts.results, most_mb=10)
    content = cines.cine(study, report, 64).read_bytes()
    cines.close()
    (length,) = struct.unpack("<I", content[8:12])
    header = json.loads(content[12 : 12 + length])
    for start, end in zip(header["offsets"], header["offsets"][1:], strict=False):
        picture = Image.open(BytesIO(content[12 + length + start : 12 + length + end]))
        assert np.asarray(picture).max() < 4


def test_the_outline_of_a_sector_is_its_polygon_or_its_box() -> None:
    assert ClipFacts(frame_times_s=(0.0,)).outline is None
    box = ClipFacts(frame_times_s=(0.0,), box_xyxy=(0, 0, 4, 3))
    assert box.outline == [(0, 0), (3, 0), (3, 2), (0, 2)]
    polygon = ClipFacts(frame_times_s=(0.0,), box_xyxy=(0, 0, 4, 3), polygon_xy=((1, 0), (3, 2), (0, 2)))
    assert polygon.outline == [(1, 0), (3, 2), (0, 2)]


def test_a_packed_file_is_mark_length_header_content() -> None:
    assert packed(CINE_MAGIC, {"a": 1}, b"xyz") == b"EACINE1\n" + b"\x07\0\0\0" + b'{"a":1}' + b"xyz"
