"""Values are combined within one patient's study, and derived values name what they come from."""

from __future__ import annotations

import pytest

from echoapex.domain import ClipReport, Evidence, Flag, Measurement
from echoapex.infer.study.records import ClipRecord, PatientData, group_by_study
from echoapex.infer.study.values import measure_studies
from echoapex.vocabulary import Quantity, View


def record(
    name: str,
    study: str,
    values: dict[Quantity, float],
    patient: PatientData | None = None,
    view: View = View.PLAX,
    flags: tuple[Flag, ...] = (),
) -> ClipRecord:
    evidence = (Evidence(clip_id=name, row_mm=0.3, column_mm=0.3, input_sha256="0" * 64),)
    measurements = tuple(
        Measurement(quantity=quantity, value=value, method="test", confidence=0.9, evidence=evidence, flags=flags)
        for quantity, value in values.items()
    )
    report = ClipReport(
        clip_id=name, file=f"{name}.dcm", frames=10, size=(8, 8), content="b_mode", view=view, measurements=measurements
    )
    return ClipRecord(run_key="k", study=study, patient=patient or PatientData(), report=report)


WALLS = {Quantity.IVSD: 10.0, Quantity.LVIDD: 50.0, Quantity.LVPWD: 10.0}
WOMAN = PatientData(sex="F", height_m=1.8, weight_kg=80.0)


def value_of(records: list[ClipRecord], quantity: Quantity) -> Measurement:
    return next(item for item in measure_studies(records).measurements if item.quantity is quantity)


def test_mass_and_wall_ratio_follow_from_the_walls() -> None:
    records = [record("a", "s", WALLS, WOMAN)]
    assert value_of(records, Quantity.LV_MASS).value == pytest.approx(181.98, abs=0.01)
    assert value_of(records, Quantity.RWT).value == pytest.approx(0.4)
    assert value_of(records, Quantity.BSA).value == pytest.approx(2.0)
    assert value_of(records, Quantity.LV_MASS_INDEX).value == pytest.approx(90.99, abs=0.01)
    mass = value_of(records, Quantity.LV_MASS)
    assert mass.evidence[0].derived_from == ("ivsd", "lvidd", "lvpwd")
    assert measure_studies(records).lvh.category == "normal geometry"


def test_an_unknown_patient_has_no_category_and_the_reason() -> None:
    lvh = measure_studies([record("a", "s", WALLS)]).lvh
    assert lvh.category is None
    assert "height and weight" in lvh.reason


def test_files_that_contradict_each_other_on_the_patient_are_not_believed() -> None:
    records = [record("a", "s", WALLS, WOMAN), record("b", "s", {}, PatientData(sex="M", height_m=1.8, weight_kg=80.0))]
    assert measure_studies(records).lvh.category is None


def test_two_patients_are_never_averaged() -> None:
    records = [record("a", "one", {Quantity.LVIDD: 40.0}), record("b", "two", {Quantity.LVIDD: 60.0})]
    found = measure_studies(records)
    assert sorted(item.value for item in found.measurements) == [40.0, 60.0]
    assert {item.details["study"] for item in found.measurements} == {"one", "two"}
    assert "2 studies" in found.notes[0]


def test_the_study_says_why_two_planes_are_not_taken_together() -> None:
    four = record("a", "s", {Quantity.EDV: 120.0}, view=View.A4C)
    two = record("b", "s", {Quantity.EDV: 110.0}, view=View.A2C, flags=(Flag.VIEW_UNCERTAIN,))
    assert measure_studies([four]).notes == ()
    assert measure_studies([four, two]).notes == ("no biplane discs: the view of the best A2C clip is uncertain",)


def test_clips_that_name_no_study_join_the_only_one() -> None:
    records = [record("a", "one", {}), record("b", "", {})]
    assert list(group_by_study(records)) == ["one"]
    assert list(group_by_study([*records, record("c", "two", {})])) == ["one", "", "two"]


def test_routes_that_disagree_are_flagged() -> None:
    far = [record("a", "s", {Quantity.LVEF: 60.0, Quantity.LVEF_DISCS: 40.0}, view=View.A4C)]
    near = [record("a", "s", {Quantity.LVEF: 60.0, Quantity.LVEF_DISCS: 55.0}, view=View.A4C)]
    assert Flag.METHODS_DISAGREE in value_of(far, Quantity.LVEF).flags
    assert Flag.METHODS_DISAGREE not in value_of(near, Quantity.LVEF).flags


def test_implausible_values_are_kept_and_flagged() -> None:
    item = value_of([record("a", "s", {Quantity.LVIDD: 150.0})], Quantity.LVIDD)
    assert item.value == 150.0
    assert Flag.OUT_OF_RANGE in item.flags


def test_no_clip_gives_no_value() -> None:
    found = measure_studies([])
    assert found.measurements == ()
    assert found.lvh.category is None
