"""The pixel baseline: learns what pixels tell, never sees a held-out patient, and is scored on files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echoapex.evaluate.baseline_pixels import (
    FRAME_SIZE,
    BaselineError,
    PixelBaseline,
    classify_phantom_studies,
    fit_pixel_baseline,
)
from echoapex.evaluate.cases import NO_VIEW
from echoapex.phantom.study import StudyPlan, write_study
from echoapex.phantom.truth import FIRST_HELD_OUT_SEED
from echoapex.vocabulary import View


def stripes(view: View, gain: float, seed: int) -> np.ndarray:
    rows, columns = np.mgrid[:FRAME_SIZE, :FRAME_SIZE]
    along = rows if view is View.A4C else columns
    noise = np.random.default_rng(seed).normal(0, 10, rows.shape)
    return np.clip(gain * (60 + 50 * np.sin(along / 3)) + noise, 0, 255).astype(np.uint8)


def test_it_learns_patterns_and_ignores_gain() -> None:
    views = [View.A4C, View.PLAX] * 10
    frames = np.stack([stripes(view, 1.0, seed) for seed, view in enumerate(views)])
    baseline = PixelBaseline.fit(frames, views)
    for view in (View.A4C, View.PLAX):
        darker = np.stack([stripes(view, 0.5, 100 + seed) for seed in range(3)])
        assert baseline.predict_view(darker) is view


def test_held_out_patients_are_refused() -> None:
    with pytest.raises(BaselineError, match=str(FIRST_HELD_OUT_SEED)):
        fit_pixel_baseline([1, FIRST_HELD_OUT_SEED])


def test_it_is_scored_on_written_files(tmp_path: Path) -> None:
    views = (View.PSAX_PM, View.SUPRASTERNAL)
    baseline = fit_pixel_baseline(range(12), views)
    folders = [tmp_path / str(number) for number in range(4)]
    for number, folder in enumerate(folders):
        write_study(folder, FIRST_HELD_OUT_SEED + number, StudyPlan(views, 96))
    cases = list(classify_phantom_studies(baseline, folders))
    assert [case.truth for case in cases] == list(views) * 4
    assert sum(case.predicted == case.truth for case in cases) >= 6, "a guess would get 4 of 8"
    (folders[0] / "PSAX_PM.dcm").write_bytes(b"damaged")
    assert next(classify_phantom_studies(baseline, folders)).predicted == NO_VIEW
