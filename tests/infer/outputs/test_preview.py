from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from infer.conftest import AnalysedStudy
from PIL import Image

from echoapex.domain import ClipReport, Evidence, Measurement, StudyReport
from echoapex.infer.outputs import preview
from echoapex.infer.outputs.preview import MOST_TILES, write_preview
from echoapex.io.pictures import Line
from echoapex.vocabulary import Quantity


def test_the_sheet_is_dark_and_shows_every_clip(analysed: AnalysedStudy, tmp_path: Path) -> None:
    sheet = np.asarray(Image.open(analysed.out / "preview.png"))
    assert sheet.std() > 10
    assert sheet.mean() < 80
    without = write_preview(tmp_path, analysed.report)  # a folder without tiles
    assert sheet.mean() > np.asarray(Image.open(without)).mean() + 3


def test_each_of_several_studies_has_its_values_and_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def remember(pixels: np.ndarray, lines: list[Line]) -> np.ndarray:
        written.extend(line.text for line in lines)
        return pixels

    monkeypatch.setattr(preview, "write_lines", remember)

    def value(study: str, ef: float) -> Measurement:
        evidence = (Evidence(clip_id=f"clip-{study}"),)
        return Measurement(
            quantity=Quantity.LVEF, value=ef, method="m", evidence=evidence, details={"study": study} if study else {}
        )

    clips = tuple(
        ClipReport(clip_id=f"clip-{name}", file=f"{name}.dcm", frames=1, size=(8, 8), content="b_mode")
        for name in ("ann", "bob")
    )
    two = StudyReport(echoapex_version="1", clips=clips, measurements=(value("ann", 61.0), value("bob", 34.0)))
    write_preview(tmp_path, two)
    assert [text for text in written if text.startswith("Study ")] == ["Study 1   ·   ann", "Study 2   ·   bob"]
    assert written.index("61 %") < written.index("Study 2   ·   bob") < written.index("34 %")
    assert any("2 studies, never averaged together" in text for text in written)
    assert {"study 1   ann.dcm", "study 2   bob.dcm"} <= set(written)
    written.clear()
    write_preview(tmp_path, two.model_copy(update={"measurements": (value("", 61.0),)}))
    assert not [text for text in written if "tudy" in text and "device" not in text]


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
