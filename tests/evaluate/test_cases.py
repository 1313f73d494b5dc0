"""Cases: nothing that has a truth is left out, and a mask of another moment never stands for the labelled one."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from written_results import write_results

from echoapex.evaluate.cases import NO_VIEW, Cases, collect_cases, write_cases
from echoapex.evaluate.reference import (
    LabelMaps,
    MatchedStudy,
    PredictionError,
    ReferenceSet,
    WrittenMasks,
    match_studies,
    read_predictions,
)
from echoapex.vocabulary import Quantity, Structure, View


def collect(tmp_path: Path, reference: ReferenceSet, **options: object) -> Cases:
    for study in reference.studies:
        write_results(tmp_path / study.patient, study, **options)  # type: ignore[arg-type]
    return collect_cases(reference, match_studies(reference.studies, read_predictions(tmp_path)))


def test_perfect_results(tmp_path: Path, reference: ReferenceSet) -> None:
    cases = collect(tmp_path, reference)
    assert all(case.predicted == case.truth for case in cases.views)
    assert {case.dice for case in cases.masks} == {1.0}
    assert all(case.measured == case.truth for case in cases.values)
    # two structures are in the plane on two frames of two clips of four patients; the others are not scored
    assert {case.structure for case in cases.masks} == {Structure.LV_CAVITY, Structure.LV_MYOCARDIUM}
    assert len(cases.masks) == 2 * 2 * 2 * 4


def test_a_study_without_results_counts_in_full(reference: ReferenceSet) -> None:
    cases = collect_cases(reference, [MatchedStudy(study, ()) for study in reference.studies])
    assert {case.predicted for case in cases.views} == {NO_VIEW}
    assert {(case.dice, case.missing) for case in cases.masks} == {(0.0, True)}
    assert {case.measured for case in cases.values} == {None}


def test_dice_of_a_shifted_square(tmp_path: Path, reference: ReferenceSet) -> None:
    def shift(labels: LabelMaps) -> LabelMaps:
        return {frame: np.roll(label, 5, axis=1) for frame, label in labels.items()}

    cases = collect(tmp_path, reference, change_labels=shift)
    cavity = {case.dice for case in cases.masks if case.structure is Structure.LV_CAVITY}
    assert cavity == {0.75}


@pytest.mark.parametrize(("delay", "missing"), [(1, False), (2, True)])
def test_a_neighbouring_frame_stands_in_only_when_near(
    tmp_path: Path, reference: ReferenceSet, delay: int, missing: bool
) -> None:
    """Frames are 30 ms apart and 50 ms are allowed."""

    def delayed(labels: LabelMaps) -> LabelMaps:
        return {frame + delay: label for frame, label in labels.items()}

    cases = collect(tmp_path, reference, change_labels=delayed)
    assert {case.missing for case in cases.masks} == {missing}
    assert {case.dice for case in cases.masks} == {0.0 if missing else 1.0}


def test_an_unwritten_view_is_no_view(tmp_path: Path, reference: ReferenceSet) -> None:
    cases = collect(tmp_path, reference, views={View.PLAX: None})
    assert {case.predicted for case in cases.views if case.truth is View.PLAX} == {NO_VIEW}
    assert {case.predicted for case in cases.views if case.truth is View.A4C} == {"A4C"}


def test_the_method_that_answers_for_ejection_fraction(tmp_path: Path, reference: ReferenceSet) -> None:
    values = {Quantity.LVEF: 11.0, Quantity.LVEF_DISCS: 22.0}
    by_discs = replace(reference, ejection_fraction_method=Quantity.LVEF_DISCS)
    cases = collect(tmp_path, by_discs, values=values)
    assert {case.measured for case in cases.values if case.quantity is Quantity.LVEF} == {22.0}


def test_values_derived_from_written_masks_stand_before_the_report(tmp_path: Path, reference: ReferenceSet) -> None:
    def count_pixels(written: Sequence[WrittenMasks]) -> dict[Quantity, float]:
        assert [clip.view for clip in written] == [View.A4C, View.PLAX]
        return {Quantity.EDV: float((written[0].labels[2] == Structure.LV_CAVITY).sum())}

    cases = collect(tmp_path, replace(reference, derive_values=count_pixels))
    assert {case.measured for case in cases.values if case.quantity is Quantity.EDV} == {400.0}
    assert {case.measured for case in cases.values if case.quantity is Quantity.ESV} == {60.0}


def test_masks_in_model_pixels_are_refused(tmp_path: Path, reference: ReferenceSet) -> None:
    with pytest.raises(PredictionError, match="native pixels"):
        collect(tmp_path, reference, change_labels=lambda labels: {f: label[::2, ::2] for f, label in labels.items()})


def test_the_table_has_one_row_per_case(tmp_path: Path, reference: ReferenceSet) -> None:
    cases = collect(tmp_path / "results", reference, values={})
    path = write_cases(tmp_path / "cases.csv", cases)
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(cases.views) + len(cases.masks) + len(cases.values)
    assert {row["predicted"] for row in rows if row["subject"] == "lvef"} == {"missing"}
