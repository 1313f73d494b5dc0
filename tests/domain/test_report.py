"""Measurements need calibration and carry their unit; a report goes through JSON without loss."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from echoapex.domain import ClipReport, Evidence, Flag, Measurement, StudyReport
from echoapex.vocabulary import Quantity, View


def evidence(**changes) -> Evidence:
    values = {"clip_id": "a4c", "frames": (0, 12), "row_mm": 0.4, "column_mm": 0.5}
    values["contours_xy"] = {"lv_cavity@12": ((1.5, 2.0), (3.0, 4.25), (2.0, 6.0))}
    return Evidence(**{**values, **changes})


def measurement(quantity: Quantity = Quantity.LVEF, **changes) -> Measurement:
    values = {"quantity": quantity, "value": 55.5, "method": "regression", "evidence": (evidence(),)}
    return Measurement(**{**values, **changes})


@pytest.mark.parametrize("quantity", [q for q in Quantity if q.needs_spacing])
def test_millimetres_are_refused_without_calibration(quantity: Quantity) -> None:
    assert measurement(quantity).unit == quantity.unit
    for uncalibrated in ((), (evidence(row_mm=None, column_mm=None),)):
        with pytest.raises(ValidationError, match="needs evidence with a calibrated spacing"):
            measurement(quantity, evidence=uncalibrated)


@pytest.mark.parametrize("quantity", [Quantity.LVEF, Quantity.LVEF_DISCS, Quantity.HEART_RATE])
def test_ratios_and_rates_need_none(quantity: Quantity) -> None:
    assert measurement(quantity, evidence=()).value == 55.5


def test_the_unit_is_written_and_a_wrong_one_is_refused_on_reading() -> None:
    written = json.loads(measurement().model_dump_json())
    assert written["unit"] == "%"
    assert Measurement.model_validate(written) == measurement()
    with pytest.raises(ValidationError, match="measured in %, not mL"):
        Measurement.model_validate({**written, "unit": "mL"})


def test_confidence_is_a_fraction() -> None:
    for bad in (-0.1, 1.1):
        with pytest.raises(ValidationError, match="confidence"):
            measurement(confidence=bad)


def full_report() -> StudyReport:
    clip = ClipReport(
        clip_id="a4c",
        file="a4c.dcm",
        frames=30,
        size=(480, 640),
        content="b_mode",
        view=View.A4C,
        view_probabilities={View.A4C: 0.9, View.A2C: 0.1},
        measurements=(measurement(flags=(Flag.SINGLE_PLANE,), interval=(50.0, 61.0)),),
    )
    discs = measurement(Quantity.LVEF_DISCS, value=51.0, method="discs")
    return StudyReport(
        echoapex_version="0.1.0", bundles={"encoder": "ab" * 32}, clips=(clip,), measurements=(discs, measurement())
    )


def test_a_report_goes_through_json_without_loss() -> None:
    report = full_report()
    assert StudyReport.model_validate_json(report.model_dump_json()) == report
    assert "not a medical device" in report.model_dump_json()


numbers = st.floats(allow_nan=False, allow_infinity=False)
points = st.tuples(numbers, numbers)


@settings(max_examples=40, deadline=None)
@given(
    quantity=st.sampled_from(Quantity),
    value=numbers,
    interval=st.none() | points,
    confidence=st.none() | st.floats(0, 1),
    flags=st.lists(st.sampled_from(Flag), unique=True),
    contour=st.lists(points, max_size=4),
    words=st.text(max_size=20),
    probabilities=st.dictionaries(st.sampled_from(View), st.floats(0, 1)),
)
def test_any_number_and_any_words_go_through_json_without_loss(
    quantity: Quantity,
    value: float,
    interval: tuple[float, float] | None,
    confidence: float | None,
    flags: list[Flag],
    contour: list[tuple[float, float]],
    words: str,
    probabilities: dict[View, float],
) -> None:
    found = measurement(
        quantity,
        value=value,
        interval=interval,
        confidence=confidence,
        flags=tuple(flags),
        evidence=(evidence(contours_xy={"lv_cavity@0": tuple(contour)}),),
        details={"note": words, "numbers": [value, 1]},
    )
    clip = ClipReport(
        clip_id="a", file=words, frames=1, size=(4, 4), content="b_mode", view_probabilities=probabilities
    )
    report = StudyReport(echoapex_version="0", clips=(clip,), measurements=(found,), notes=(words,))
    assert StudyReport.model_validate_json(report.model_dump_json()) == report


def test_ef_is_the_regression_where_there_is_one_else_discs() -> None:
    report = full_report()
    assert report.ef is not None
    assert report.ef.quantity is Quantity.LVEF
    discs_only = report.model_copy(update={"measurements": report.measurements[:1]})
    assert discs_only.ef is not None
    assert discs_only.ef.value == 51.0
    assert report.model_copy(update={"measurements": ()}).ef is None


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Evidence.model_validate({"clip_id": "a", "patient_name": "nobody"})
