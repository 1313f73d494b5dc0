"""What rests on an edited or rejected value follows it by the formula of the analysis, or is left out with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from echoapex.domain import ClipReport, Evidence, Flag, Measurement, StudyReport
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.outputs.files import Manifest
from echoapex.infer.review.decided_values import EDITED, FOLLOWS, DecidedStudy, ValueDecision, decide_study
from echoapex.infer.study.records import ClipRecord, PatientData
from echoapex.infer.study.stored import StoredAnalysis
from echoapex.infer.study.values import measure_studies
from echoapex.measure import WallThickness, ejection_fraction_percent, lv_mass_g, relative_wall_thickness
from echoapex.vocabulary import Quantity, View

WALLS = {Quantity.IVSD: 10.0, Quantity.LVIDD: 50.0, Quantity.LVPWD: 10.0}
VOLUMES = {Quantity.EDV: 120.0, Quantity.ESV: 48.0, Quantity.LVEF_DISCS: 60.0, Quantity.HEART_RATE: 75.0}
WOMAN = PatientData(sex="F", height_m=1.8, weight_kg=80.0)  # 2 m2
RIGHT = {Quantity.RV_ED_AREA: 20.0, Quantity.RV_ES_AREA: 12.0, Quantity.RV_FAC: 40.0}


def record(name: str, values: dict[Quantity, float], view: View, flags: tuple[Flag, ...] = ()) -> ClipRecord:
    evidence = (Evidence(clip_id=name, row_mm=0.3, column_mm=0.3),)
    measurements = tuple(
        Measurement(quantity=quantity, value=value, method="test", confidence=0.9, evidence=evidence, flags=flags)
        for quantity, value in values.items()
    )
    report = ClipReport(
        clip_id=name, file=f"{name}.dcm", frames=9, size=(8, 8), content="b_mode", view=view, measurements=measurements
    )
    return ClipRecord(run_key="k", study="s", patient=WOMAN, report=report)


def stored(*records: ClipRecord) -> StoredAnalysis:
    values = measure_studies(records)
    report = StudyReport(
        echoapex_version="0",
        clips=tuple(one.report for one in records),
        measurements=values.measurements,
        lvh=values.lvh,
        notes=values.notes,
    )
    manifest = Manifest(
        complete=True, bundle="test", weights_sha256={}, device="cpu", options=AnalysisOptions(), inputs=1,
        clips_analysed=len(records), clips_set_aside=0, clips_reused=0, files_failed=0, started="", seconds=0.0,
    )  # fmt: skip
    return StoredAnalysis(Path("results"), report, records, manifest)


def edited(value: float) -> ValueDecision:
    return ValueDecision(value, "anna", "seen by eye")


REJECTED = ValueDecision(None, "anna", "oblique cut")


def values_of(study: DecidedStudy, clip: str = "") -> dict[Quantity, float]:
    report = study.stored.report
    items = next(one for one in report.clips if one.clip_id == clip).measurements if clip else report.measurements
    return {item.quantity: item.value for item in items}


@pytest.fixture
def study() -> StoredAnalysis:
    return stored(record("plax", WALLS, View.PLAX), record("four", VOLUMES | RIGHT, View.A4C))


def test_without_decisions_nothing_changes(study: StoredAnalysis) -> None:
    found = decide_study(study, {})
    assert found.stored is study and not found.left_out and not found.follows


def test_volumes_give_ejection_fraction_stroke_volume_output_and_indices(study: StoredAnalysis) -> None:
    found = decide_study(study, {"edv": edited(150.0)})
    values, before = values_of(found), {item.quantity: item.value for item in study.report.measurements}
    assert values[Quantity.LVEF_DISCS] == pytest.approx(ejection_fraction_percent(150.0, 48.0))
    assert values[Quantity.STROKE_VOLUME] == pytest.approx(102.0)
    assert values[Quantity.STROKE_VOLUME_INDEX] == pytest.approx(51.0)
    assert values[Quantity.CARDIAC_OUTPUT] == pytest.approx(102.0 * 75 / 1000)
    assert values[Quantity.CARDIAC_INDEX] == pytest.approx(102.0 * 75 / 2000)
    assert values[Quantity.EDV_INDEX] == pytest.approx(75.0)
    changed = {quantity for quantity in values if values[quantity] != before[quantity]}
    assert changed == {Quantity.EDV, Quantity.LVEF_DISCS, Quantity.STROKE_VOLUME, Quantity.STROKE_VOLUME_INDEX,
                       Quantity.CARDIAC_OUTPUT, Quantity.CARDIAC_INDEX, Quantity.EDV_INDEX}  # fmt: skip
    item = found.stored.report.find(Quantity.LVEF_DISCS)
    assert item is not None and item.details[FOLLOWS] == {"from": ["edv"], "computed": 60.0}
    assert "computed again because a person changed LV end-diastolic volume; computed was 60 %" in item.method
    assert found.follows["lvef_discs"] == ("edv",) and not found.left_out
    assert values_of(found, "four")[Quantity.LVEF_DISCS] == 60.0  # the clip was not edited


def test_walls_give_mass_thickness_and_category(study: StoredAnalysis) -> None:
    assert study.report.lvh.category == "normal geometry"
    found = decide_study(study, {"lvpwd": edited(16.0), "ivsd": edited(15.0)})
    walls, values = WallThickness(15.0, 50.0, 16.0), values_of(found)
    assert values[Quantity.LV_MASS] == pytest.approx(lv_mass_g(walls))
    assert values[Quantity.LV_MASS_INDEX] == pytest.approx(lv_mass_g(walls) / 2)
    assert values[Quantity.RWT] == pytest.approx(relative_wall_thickness(walls))
    assert found.stored.report.lvh.category == "concentric hypertrophy" == found.reported.lvh.category
    assert set(found.follows["lv_mass"]) == {"ivsd", "lvpwd"} and found.follows["rwt"] == ("lvpwd",)


def test_what_a_rejected_value_leaves_without_a_source_is_left_out_with_the_reason(study: StoredAnalysis) -> None:
    found = decide_study(study, {"ivsd": REJECTED})
    values = values_of(found)
    assert not {Quantity.IVSD, Quantity.LV_MASS, Quantity.LV_MASS_INDEX} & set(values)
    assert values[Quantity.RWT] == pytest.approx(0.4)  # the septum is no part of it
    assert set(found.left_out) == {"lv_mass", "lv_mass_index"}
    assert "Interventricular septum, end-diastole, which was rejected" in found.left_out["lv_mass"]
    assert "LV mass, cube formula, which is left out" in found.left_out["lv_mass_index"]
    assert found.stored.report.lvh.category is None and "LV mass" in found.reported.lvh.reason
    missing = {one.quantity: one.reason for one in found.reported.missing}
    assert missing[Quantity.IVSD] == "rejected by a reader: oblique cut"
    assert missing[Quantity.LV_MASS] == found.left_out["lv_mass"]
    assert any(note.startswith("LV mass, cube formula is left out: ") for note in found.stored.report.notes)


def test_an_edit_of_what_would_be_left_out_stands(study: StoredAnalysis) -> None:
    found = decide_study(study, {"ivsd": REJECTED, "lv_mass": edited(200.0)})
    values = values_of(found)
    assert values[Quantity.LV_MASS] == 200.0 and values[Quantity.LV_MASS_INDEX] == pytest.approx(100.0)
    assert not found.left_out and found.follows == {"lv_mass_index": ("lv_mass",)}


def test_volumes_that_do_not_eject_leave_out_what_needs_both(study: StoredAnalysis) -> None:
    found = decide_study(study, {"esv": edited(130.0)})
    assert {"lvef_discs", "stroke_volume", "stroke_volume_index", "cardiac_output", "cardiac_index"} == set(
        found.left_out
    )
    assert "120" in found.left_out["lvef_discs"] and "130" in found.left_out["lvef_discs"]


def test_a_new_number_makes_possible_what_was_not(study: StoredAnalysis) -> None:
    before = stored(record("four", {Quantity.EDV: 50.0, Quantity.ESV: 60.0}, View.A4C))
    assert before.report.find(Quantity.STROKE_VOLUME) is None
    found = decide_study(before, {"edv": edited(130.0)})
    assert values_of(found)[Quantity.STROKE_VOLUME] == pytest.approx(70.0)
    item = found.stored.report.find(Quantity.STROKE_VOLUME)
    assert item is not None and item.details[FOLLOWS]["computed"] is None


def test_a_value_of_one_clip_changes_that_of_the_study() -> None:
    two = stored(record("a", WALLS, View.PLAX), record("b", {**WALLS, Quantity.IVSD: 12.0}, View.PLAX))
    assert two.report.find(Quantity.IVSD).value == pytest.approx(11.0)  # type: ignore[union-attr]
    found = decide_study(two, {"ivsd@b": edited(14.0)})
    assert values_of(found, "b")[Quantity.IVSD] == 14.0
    assert values_of(found)[Quantity.IVSD] == pytest.approx(12.0)
    assert values_of(found)[Quantity.LV_MASS] == pytest.approx(lv_mass_g(WallThickness(12.0, 50.0, 10.0)))
    assert found.follows["lv_mass"] == ("ivsd@b",)
    without = decide_study(two, {"ivsd@b": REJECTED})
    assert values_of(without)[Quantity.IVSD] == pytest.approx(10.0)
    nothing = decide_study(two, {"ivsd@a": REJECTED, "ivsd@b": REJECTED})
    assert nothing.left_out["ivsd"] == "no clip gives it any more" and "lv_mass" in nothing.left_out


def test_ratios_of_a_clip_follow_its_values(study: StoredAnalysis) -> None:
    found = decide_study(study, {"edv@four": edited(96.0), "rv_es_area@four": edited(10.0)})
    assert values_of(found, "four")[Quantity.LVEF_DISCS] == pytest.approx(50.0)
    assert values_of(found)[Quantity.LVEF_DISCS] == pytest.approx(50.0)
    assert values_of(found)[Quantity.RV_FAC] == values_of(found, "four")[Quantity.RV_FAC] == pytest.approx(50.0)
    assert values_of(found)[Quantity.STROKE_VOLUME] == pytest.approx(48.0)


def test_two_planes_that_come_from_outlines_do_not_follow_a_number_of_one(study: StoredAnalysis) -> None:
    planes = {"planes": {"A4C": "four", "A2C": "two"}}
    both = stored(record("four", VOLUMES, View.A4C), record("two", VOLUMES, View.A2C))
    items = tuple(
        item.model_copy(update={"details": {**item.details, **planes}})
        if item.quantity in (Quantity.EDV, Quantity.ESV, Quantity.LVEF_DISCS)
        else item
        for item in both.report.measurements
    )
    biplane = StoredAnalysis(
        both.folder, both.report.model_copy(update={"measurements": items}), both.records, both.manifest
    )
    found = decide_study(biplane, {"edv@four": edited(96.0)})
    assert {"edv", "lvef_discs", "stroke_volume", "edv_index"} <= set(found.left_out)
    assert "outlines of two planes" in found.left_out["edv"] and "esv" not in found.left_out
    whole = decide_study(biplane, {"edv@four": edited(96.0), "edv": edited(100.0)})
    assert values_of(whole)[Quantity.LVEF_DISCS] == pytest.approx(52.0)
    assert not [name for name in whole.left_out if "@" not in name]


def test_flags_follow_the_new_numbers() -> None:
    before = stored(record("four", {**VOLUMES, Quantity.LVEF: 58.0}, View.A4C))
    found = decide_study(before, {"esv": edited(84.0)})
    for quantity in (Quantity.LVEF, Quantity.LVEF_DISCS):
        assert Flag.METHODS_DISAGREE in found.stored.report.find(quantity).flags  # type: ignore[union-attr]
    agreeing = decide_study(found.stored, {"lvef_discs": REJECTED})
    assert Flag.METHODS_DISAGREE not in agreeing.stored.report.find(Quantity.LVEF).flags  # type: ignore[union-attr]
    far = decide_study(before, {"edv": edited(900.0)}).stored.report.find(Quantity.EDV)
    assert far is not None and Flag.OUT_OF_RANGE in far.flags and far.details[EDITED]["computed"] == 120.0


def test_length_of_the_ventricle_takes_sphericity_along() -> None:
    before = stored(record("four", {Quantity.LV_LENGTH: 80.0, Quantity.SPHERICITY_INDEX: 0.6}, View.A4C))
    found = decide_study(before, {"lv_length": edited(90.0)})
    assert Quantity.SPHERICITY_INDEX not in values_of(found) and "LV length" in found.left_out["sphericity_index"]
