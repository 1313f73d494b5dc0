"""What an analysis is told of a clip: its view, its pixel size, frames to outline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from avi_files import write_avi
from conftest import LabelledStudy

from echoapex.domain import Spacing, ViewPrediction
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.study.analyze import NamedInterpreter, StudyAnalyzer
from echoapex.infer.study.records import TOLD_CALIBRATION, KnownClip, extend_run_key, tell_calibration
from echoapex.io.study_files import open_only_clip
from echoapex.vocabulary import Quantity, Structure, View

OPTIONS = AnalysisOptions(overlays=False, max_segmented_frames=4)


class PlainModels:
    """NamedInterpreter that see the same disc and the same walls in every frame, and an A4C in every clip."""

    input_size = 64
    digests: ClassVar = {"plain": "0" * 64}

    def encode(self, pixels: np.ndarray, times_s: Sequence[float]) -> np.ndarray:
        return pixels

    def classify_view(self, _pixels: Any) -> ViewPrediction:
        return ViewPrediction({view: float(view is View.A4C) for view in View})

    def segment(self, _pixels: Any, rows: Sequence[int], structures: Sequence[Structure]) -> Iterator[Any]:
        for row in rows:
            yield row, np.ones((len(structures), 64, 64), np.float32), np.full(len(structures), 0.9)

    def find_wall_points(self, _pixels: Any, rows: Sequence[int]) -> list[Any]:
        return [(row, np.array([[32, 10], [32, 14], [32, 40], [32, 44]], float), np.ones(4)) for row in rows]


@pytest.fixture()
def video(labelled_study: LabelledStudy, tmp_path: Path) -> Path:
    source = open_only_clip(labelled_study.folder / f"{View.PLAX}.dcm")
    return write_avi(tmp_path / "plax.avi", np.stack(list(source.frames())))


def test_told_spacing_stands_only_where_the_file_has_none(labelled_study: LabelledStudy, video: Path) -> None:
    known = KnownClip(spacing=Spacing(0.25, 0.5))
    told = tell_calibration(open_only_clip(video), known)
    assert told.header.spacing == Spacing(0.25, 0.5)
    assert told.header.source["calibration"] == TOLD_CALIBRATION
    assert len(list(told.frames())) == told.header.frame_count
    calibrated = open_only_clip(labelled_study.folder / f"{View.PLAX}.dcm")
    assert tell_calibration(calibrated, known) is calibrated
    assert tell_calibration(calibrated, KnownClip()) is calibrated


def test_what_was_told_is_used(video: Path, tmp_path: Path) -> None:
    digest = open_only_clip(video).header.source["sha256"]
    models = NamedInterpreter(PlainModels(), "plain", "cpu")
    viewed = {digest: KnownClip(View.PLAX)}
    blind = StudyAnalyzer(models, OPTIONS, known=viewed).run([video], tmp_path / "blind")
    assert blind.clips[0].view is View.PLAX
    assert not blind.measurements
    last = blind.clips[0].frames - 1
    with np.load(tmp_path / "blind" / "masks" / f"{blind.clips[0].clip_id}.npz") as arrays:
        assert last not in arrays["frames"]
    known = {digest: KnownClip(View.PLAX, Spacing(0.3, 0.3), (last,))}
    told = StudyAnalyzer(models, OPTIONS, known=known).run([video], tmp_path / "told")
    (report,) = told.clips
    assert (report.view, report.row_mm) == (View.PLAX, 0.3)
    assert any(item.quantity is Quantity.IVSD for item in report.measurements)
    with np.load(tmp_path / "told" / "masks" / f"{report.clip_id}.npz") as arrays:
        assert last in arrays["frames"]


def test_what_was_told_is_part_of_what_makes_a_clip_reusable() -> None:
    keys = {
        extend_run_key("key", known)
        for known in (KnownClip(), KnownClip(View.A4C), KnownClip(spacing=Spacing(1, 1)), KnownClip(None, None, (3,)))
    }
    assert len(keys) == 4
    assert extend_run_key("key", KnownClip()) == "key"
