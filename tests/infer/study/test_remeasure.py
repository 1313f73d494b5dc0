"""Measurements from stored contours: the same values, or those of another calibration; nothing else is needed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from infer.conftest import AnalysedStudy
from recomputed_values import check_written_values

from echoapex.domain import Spacing, StudyReport
from echoapex.infer.outputs.report_files import ReportOutput
from echoapex.infer.study.remeasure import (
    FROM_FRAMES,
    RemeasureError,
    read_calibrations,
    remeasure,
    write_remeasured,
)
from echoapex.infer.study.stored import StoredAnalysis, StoredError, read_stored
from echoapex.vocabulary import Quantity, View


@pytest.fixture
def stored(analysed: AnalysedStudy) -> StoredAnalysis:
    return read_stored(analysed.out)


def corrected(stored: StoredAnalysis, view: View, factors: tuple[float, float]) -> dict[str, Spacing]:
    """The clips of one view with pixels of another size."""
    return {
        clip.clip_id: Spacing(clip.row_mm * factors[0], clip.column_mm * factors[1])
        for clip in stored.report.clips
        if clip.view is view and clip.row_mm and clip.column_mm
    }


def test_the_same_formulas_give_the_same_bytes(stored: StoredAnalysis, analysed: AnalysedStudy, tmp_path: Path) -> None:
    found = remeasure(stored)
    assert found.changed == 0
    assert found.same > 15
    assert found.kept == sum(m.quantity in FROM_FRAMES for clip in stored.report.clips for m in clip.measurements)
    write_remeasured(tmp_path / "new", stored, found, ReportOutput())
    for name in (
        "results.json",
        "measurements.csv",
        "errors.csv",
        *(f"clips/{c.clip_id}.json" for c in found.report.clips),
    ):
        assert (tmp_path / "new" / name).read_bytes() == (analysed.out / name).read_bytes()


def test_every_value_is_really_computed_again(stored: StoredAnalysis) -> None:
    """Values that were tampered with come back as they were."""
    records = tuple(
        record.model_copy(
            update={
                "report": record.report.model_copy(
                    update={
                        "measurements": tuple(
                            item.model_copy(update={"value": item.value * 1.01}) for item in record.report.measurements
                        )
                    }
                )
            }
        )
        for record in stored.records
    )
    found = remeasure(StoredAnalysis(stored.folder, stored.report, records, stored.manifest))
    assert found.same == 0
    for old, new in zip(stored.report.clips, found.report.clips, strict=True):
        for before, after in zip(old.measurements, new.measurements, strict=True):
            assert after.quantity is before.quantity
            if before.quantity not in FROM_FRAMES:
                assert after.value == before.value


def test_a_corrected_calibration_scales_lengths_and_volumes_and_leaves_ratios(
    stored: StoredAnalysis, tmp_path: Path
) -> None:
    found = remeasure(stored, corrected(stored, View.PLAX, (1.1, 1.1)) | corrected(stored, View.A4C, (1.1, 1.1)))
    assert found.changed > 0
    powers = {Quantity.IVSD: 1, Quantity.LVIDD: 1, Quantity.LV_LENGTH: 1, Quantity.EDV: 3, Quantity.LVEF_DISCS: 0}
    powers |= {
        Quantity.LA_VOLUME: 3,
        Quantity.RVIDD: 1,
        Quantity.RV_ED_AREA: 2,
        Quantity.GLS_ENDOCARDIAL: 0,
        Quantity.LVEF: 0,
    }
    checked = set()
    for old, new in zip(stored.report.clips, found.report.clips, strict=True):
        values = {item.quantity: item for item in new.measurements}
        for item in old.measurements:
            if item.quantity in powers:
                factor = 1.1 ** powers[item.quantity] if old.view in (View.PLAX, View.A4C) else 1.0
                assert values[item.quantity].value == pytest.approx(item.value * factor, rel=1e-3), item.quantity
                checked.add(item.quantity)
    assert {Quantity.IVSD, Quantity.EDV, Quantity.LVEF_DISCS, Quantity.RV_ED_AREA} <= checked
    mass = found.report.find(Quantity.LV_MASS)
    before = stored.report.find(Quantity.LV_MASS)
    assert mass is not None
    assert before is not None
    assert mass.value > 1.2 * before.value, "the values of the study follow"
    write_remeasured(tmp_path / "new", stored, found, ReportOutput(cohort="csv"))
    check_written_values(tmp_path / "new")
    again = read_stored(tmp_path / "new")
    assert again.report == StudyReport.model_validate_json((tmp_path / "new" / "results.json").read_bytes())
    assert remeasure(again).changed == 0
    keys = {record.run_key for record in stored.records}
    changed = [r for r in again.records if r.report.view in (View.PLAX, View.A4C)]
    assert not keys & {record.run_key for record in changed}, "analyze must not take these over"


def test_pixels_that_are_no_longer_square_leave_no_curve_in_ml(stored: StoredAnalysis) -> None:
    found = remeasure(stored, corrected(stored, View.A4C, (1.0, 1.1)))
    (clip,) = [clip for clip in found.report.clips if clip.view is View.A4C]
    assert clip.volume_curve
    assert all(point.ml is None for point in clip.volume_curve)
    assert any("calibration: corrected" in note for note in clip.notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip,row\na,1\n", "needs the columns"),
        ("clip_id,row_mm,column_mm\na,x,1\n", "line 2 holds no pixel size"),
        ("clip_id,row_mm,column_mm\na,-1,1\n", "line 2 holds no pixel size"),
        ("clip_id,row_mm,column_mm\na,0.3,30\n", "line 2: a pixel of an echocardiogram"),
    ],
)
def test_a_table_of_calibrations_that_is_wrong_is_refused(text: str, message: str, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(text)
    with pytest.raises(RemeasureError, match=message):
        read_calibrations(table)


def test_a_calibration_for_no_clip_is_refused(stored: StoredAnalysis) -> None:
    with pytest.raises(RemeasureError, match="no clip of the results"):
        remeasure(stored, {"clip-0": Spacing(0.3, 0.3)})


def test_a_calibration_cannot_be_added(stored: StoredAnalysis) -> None:
    first = stored.report.clips[0]
    bare = first.model_copy(update={"row_mm": None, "column_mm": None})
    report = stored.report.model_copy(update={"clips": (bare, *stored.report.clips[1:])})
    with pytest.raises(RemeasureError, match="corrected here, not added"):
        remeasure(
            StoredAnalysis(stored.folder, report, stored.records, stored.manifest), {first.clip_id: Spacing(0.3, 0.3)}
        )


def test_a_folder_without_whole_results_is_refused(analysed: AnalysedStudy, tmp_path: Path) -> None:
    with pytest.raises(StoredError, match=r"holds no results\.json"):
        read_stored(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(analysed.out, copy)
    next((copy / "clips").glob("*.json")).unlink()
    with pytest.raises(StoredError, match="record of clip"):
        read_stored(copy)
    manifest = copy / "manifest.json"
    shutil.copytree(analysed.out / "clips", copy / "clips", dirs_exist_ok=True)
    manifest.write_text(manifest.read_text().replace('"complete": true', '"complete": false'))
    with pytest.raises(StoredError, match="interrupted"):
        read_stored(copy)
    (copy / "results.json").write_text("{}")
    with pytest.raises(StoredError, match="damaged or of another version"):
        read_stored(copy)
