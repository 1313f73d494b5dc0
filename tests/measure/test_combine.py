"""How values of several clips become the study's one value, with their evidence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoapex.domain import Evidence, Flag, Measurement
from echoapex.measure import MeasureError, combine_measurements, flag_disagreement, flag_implausible
from echoapex.vocabulary import Quantity


def ef(value: float, clip: str = "c", confidence: float | None = 0.9, **more) -> Measurement:
    evidence = (Evidence(clip_id=clip, frames=(3, 12), row_mm=0.4, column_mm=0.5),)
    return Measurement(
        quantity=Quantity.LVEF, value=value, method="regression", confidence=confidence, evidence=evidence, **more
    )


@given(st.lists(st.tuples(st.floats(5, 90), st.floats(0, 1)), min_size=1, max_size=8))
def test_the_combined_value_lies_among_the_clips_values(pairs: list[tuple[float, float]]) -> None:
    combined = combine_measurements([ef(value, str(i), weight) for i, (value, weight) in enumerate(pairs)])
    values = [value for value, _ in pairs]
    assert min(values) - 1e-9 <= combined.value <= max(values) + 1e-9
    assert combined.quantity is Quantity.LVEF
    assert Measurement.model_validate_json(combined.model_dump_json()) == combined


def test_confidence_weighs() -> None:
    combined = combine_measurements([ef(50, "good", 0.9), ef(60, "poor", 0.1)])
    assert combined.value == pytest.approx(51)
    assert combined.details["best_clip"] == "good"
    assert [item.clip_id for item in combined.evidence] == ["good", "poor"]


def test_a_flag_halves_the_weight_and_stays_visible() -> None:
    combined = combine_measurements([ef(50), ef(62, flags=(Flag.SINGLE_FRAME,))])
    assert combined.value == pytest.approx(54)
    assert combined.flags == (Flag.SINGLE_FRAME,)


def test_an_outlier_of_several_is_left_out_but_listed() -> None:
    combined = combine_measurements([ef(55, "a"), ef(57, "b"), ef(56, "c"), ef(21, "broken", 0.99)])
    assert combined.value == pytest.approx(56)
    assert combined.details["best_clip"] != "broken"
    left_out = [row["clip_id"] for row in combined.details["values"] if row["left_out_as_outlier"]]
    assert left_out == ["broken"]
    assert "broken" not in [item.clip_id for item in combined.evidence]


def test_of_two_that_differ_neither_is_called_wrong_but_the_interval_says_so() -> None:
    close, apart = (combine_measurements([ef(50), ef(other)]) for other in (51, 70))
    assert apart.value == pytest.approx(60)
    assert apart.interval is not None
    assert close.interval is not None
    assert apart.interval[1] - apart.interval[0] > 10 * (close.interval[1] - close.interval[0])


def test_agreeing_clips_do_not_shrink_the_interval_below_their_own() -> None:
    combined = combine_measurements([ef(55, interval=(47, 63)), ef(55, interval=(45, 65))])
    assert combined.interval == pytest.approx((46, 64))


def test_one_clip_keeps_its_value_interval_and_method() -> None:
    single = ef(55, "only", interval=(49, 61))
    combined = combine_measurements([single])
    assert (combined.value, combined.interval, combined.method) == (55, (49, 61), "regression")
    assert combined.evidence == single.evidence
    assert combined.details["best_clip"] == "only"


def test_calibration_survives_combination_of_lengths() -> None:
    evidence = (Evidence(clip_id="plax", row_mm=0.3, column_mm=0.3),)
    walls = [
        Measurement(quantity=Quantity.IVSD, value=v, method="points", confidence=0.8, evidence=evidence)
        for v in (9, 11)
    ]
    combined = combine_measurements(walls)
    assert combined.value == pytest.approx(10)
    assert combined.unit == "mm"
    assert combined.evidence[0].row_mm == 0.3


def test_nothing_and_mixed_quantities_are_refused() -> None:
    with pytest.raises(MeasureError, match="nothing to combine"):
        combine_measurements([])
    rate = Measurement(quantity=Quantity.HEART_RATE, value=70, method="beats")
    with pytest.raises(MeasureError, match="heart_rate, lvef cannot"):
        combine_measurements([ef(50), rate])


def test_two_routes_to_ef_that_disagree_are_both_flagged() -> None:
    discs = Measurement(quantity=Quantity.LVEF_DISCS, value=38, method="discs")
    assert [m.flags for m in flag_disagreement(ef(45), discs)] == [(), ()]
    flagged = flag_disagreement(ef(55), discs)
    assert [m.flags for m in flagged] == [(Flag.METHODS_DISAGREE,)] * 2
    assert [m.value for m in flagged] == [55, 38]
    with pytest.raises(MeasureError, match="percentages"):
        flag_disagreement(ef(55), Measurement(quantity=Quantity.HEART_RATE, value=70, method="beats"))


def test_an_implausible_value_is_flagged_once_and_never_changed() -> None:
    assert flag_implausible(ef(55)).flags == ()
    flagged = flag_implausible(flag_implausible(ef(97)))
    assert (flagged.value, flagged.flags) == (97, (Flag.OUT_OF_RANGE,))
