from __future__ import annotations

from pathlib import Path

import numpy as np
from infer.conftest import AnalysedStudy
from PIL import Image

from echoapex.domain import ClipReport, StudyReport
from echoapex.infer.outputs.preview import MOST_TILES, write_preview


def test_the_sheet_is_dark_and_shows_every_clip(analysed: AnalysedStudy, tmp_path: Path) -> None:
    sheet = np.asarray(Image.open(analysed.out / "preview.png"))
    assert sheet.std() > 10
    assert sheet.mean() < 80
    without = write_preview(tmp_path, analysed.report)  # a folder without tiles
    assert sheet.mean() > np.asarray(Image.open(without)).mean() + 3


def test_hundreds_of_clips_and_missing_tiles_make_a_bounded_sheet(tmp_path: Path) -> None:
    clips = tuple(
        ClipReport(clip_id=f"c{n}", file=f"{n}.dcm", frames=1, size=(8, 8), content="b_mode", set_aside="blank" * 40)
        for n in range(3 * MOST_TILES)
    )
    path = write_preview(tmp_path, StudyReport(echoapex_version="1", clips=clips))
    assert Image.open(path).height < 400 * (MOST_TILES // 3 + 1)


def test_an_empty_study_has_a_sheet_too(tmp_path: Path) -> None:
    report = StudyReport(echoapex_version="1", errors=({"file": "a", "reason": "b", "remedy": "c"},))
    assert Image.open(write_preview(tmp_path, report)).width > 400
