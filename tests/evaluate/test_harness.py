"""The harness: each metric against a value worked out by hand, with counts, intervals and missing answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reference_studies import make_study
from written_results import BUNDLES, write_results

from echoapex.evaluate.harness import score_predictions
from echoapex.evaluate.metrics_file import MetricsFile, Score
from echoapex.evaluate.reference import LabelMaps, ReferenceSet, read_predictions
from echoapex.metrics import intraclass_correlation
from echoapex.vocabulary import Quantity, Structure, View


def score(folder: Path, reference: ReferenceSet) -> MetricsFile:
    metrics, _ = score_predictions(reference, read_predictions(folder))
    return metrics


def test_perfect_results_score_perfectly(tmp_path: Path, reference: ReferenceSet) -> None:
    for study in reference.studies:
        write_results(tmp_path / study.patient, study)
    metrics = score(tmp_path, reference)
    assert metrics.views.balanced_accuracy == Score(value=1.0, n=8, interval=(1.0, 1.0))
    assert metrics.segmentation.lv_cavity.dice.value == 1.0
    assert metrics.segmentation.lv_cavity.dice.n == 16
    assert set(metrics.segmentation.lv_cavity.by_view) == {View.A4C, View.PLAX}
    assert metrics.ejection_fraction.mae.value == 0
    assert metrics.ejection_fraction.r2.value == 1
    assert metrics.lv_wall.lvidd.mae_mm.value == 0
    assert metrics.bundles == BUNDLES
    assert (metrics.studies, metrics.studies_without_results, metrics.clips) == (4, 0, 8)


def test_the_promised_keys_with_n_and_interval(tmp_path: Path, reference: ReferenceSet) -> None:
    for study in reference.studies:
        write_results(tmp_path / study.patient, study)
    written = json.loads(score(tmp_path, reference).model_dump_json())
    keys = [
        "views.balanced_accuracy",
        *(f"segmentation.{structure.key}.dice" for structure in Structure),
        *(f"ejection_fraction.{name}" for name in ("mae", "rmse", "r2")),
        *(f"lv_wall.{name}.mae_mm" for name in ("ivsd", "lvidd", "lvpwd")),
    ]
    for key in keys:
        leaf = written
        for part in key.split("."):
            leaf = leaf[part]
        assert {"value", "n", "interval"} <= set(leaf), key
    assert MetricsFile.model_validate(written).views.confusion is not None


def test_errors_by_hand(tmp_path: Path, reference: ReferenceSet) -> None:
    errors = [0.0, 2.0, -4.0, 6.0]
    for study, error in zip(reference.studies, errors, strict=True):
        values = dict(study.values) | {
            Quantity.LVEF: study.values[Quantity.LVEF] + error,
            Quantity.IVSD: study.values[Quantity.IVSD] - 1,
        }
        write_results(tmp_path / study.patient, study, values=values)
    metrics = score(tmp_path, reference)
    assert metrics.ejection_fraction.mae.value == pytest.approx(3)
    assert metrics.ejection_fraction.rmse.value == pytest.approx(np.sqrt(56 / 4))
    assert metrics.ejection_fraction.bias.value == pytest.approx(1)
    # truths 30, 35, 40, 45 scatter by 125 around their mean
    assert metrics.ejection_fraction.r2.value == pytest.approx(1 - 56 / 125)
    low, high = metrics.ejection_fraction.mae.interval or (0, 0)
    assert 0 <= low < 3 < high <= 6
    assert metrics.ejection_fraction_discs.mae.value == 0
    assert metrics.lv_wall.ivsd.mae_mm.value == pytest.approx(1)
    assert metrics.lv_wall.ivsd.bias_mm.value == pytest.approx(-1)


def test_agreement_of_the_ejection_fraction_by_hand(tmp_path: Path, reference: ReferenceSet) -> None:
    for study, error in zip(reference.studies, [0.0, 2.0, -4.0, 6.0], strict=True):
        values = dict(study.values) | {Quantity.LVEF: study.values[Quantity.LVEF] + error}
        write_results(tmp_path / study.patient, study, values=values)
    scores = score(tmp_path, reference).ejection_fraction
    # the differences scatter by 52 around their mean of 1
    assert scores.lower_limit.value == pytest.approx(1 - 1.96 * np.sqrt(52 / 3))
    assert scores.upper_limit.value == pytest.approx(1 + 1.96 * np.sqrt(52 / 3))
    # written 30 and 37 for those below 40 %, 36 and 51 for the others: three of four pairs are in order
    assert scores.auroc_below_40.value == pytest.approx(0.75)
    assert scores.auroc_below_50.value is None, "nobody is above"
    assert scores.icc.value == pytest.approx(intraclass_correlation([[30, 30], [35, 37], [40, 36], [45, 51]]))


def test_hypertrophy_is_judged_by_the_limit_of_the_sex(tmp_path: Path, reference: ReferenceSet) -> None:
    # limits are 95 g/m2 for women and 115 for men: the first and the last have hypertrophy
    patients = [("F", 100.0, 98.0), ("M", 100.0, 110.0), ("F", 80.0, 85.0), ("M", 130.0, 112.0)]
    studies = tuple(
        replace(study, values={Quantity.LV_MASS_INDEX: truth}, traits={"sex": sex})
        for study, (sex, truth, _) in zip(reference.studies, patients, strict=True)
    )
    for study, (_, _, written) in zip(studies, patients, strict=True):
        write_results(tmp_path / study.patient, study, values={Quantity.LV_MASS_INDEX: written})
    scores = score(tmp_path, replace(reference, studies=studies)).lvh
    assert scores.mass_index_mae_g_per_m2.value == pytest.approx((2 + 10 + 5 + 18) / 4)
    # written over the limit: 1.03 and 0.97 for those who have it, 0.96 and 0.89 for the others
    assert (scores.auroc.value, scores.hypertrophied) == (1.0, 2)
    nobody = tuple(replace(study, traits={}) for study in studies)
    assert score(tmp_path, replace(reference, studies=nobody)).lvh.auroc == Score()


def test_distances_between_outlines_are_in_millimetres(tmp_path: Path, reference: ReferenceSet) -> None:
    def shift(labels: LabelMaps) -> LabelMaps:
        return {frame: np.roll(label, 2, axis=1) for frame, label in labels.items()}

    for number, study in enumerate(reference.studies):
        erase = {"change_labels": lambda labels: {frame: label * 0 for frame, label in labels.items()}}
        write_results(tmp_path / study.patient, study, **(erase if number == 0 else {"change_labels": shift}))
    cavity = score(tmp_path, reference).segmentation.lv_cavity
    assert cavity.hd95_mm.value == pytest.approx(2 * 0.5), "two pixels of half a millimetre"
    assert 0 < cavity.surface_mm.value < cavity.hd95_mm.value
    assert (cavity.hd95_mm.n, cavity.hd95_mm.missing) == (12, 4), "an empty outline has no distance, and is counted"
    assert (cavity.dice.n, cavity.dice.missing) == (16, 0)
    overlap = 18 / 22
    assert cavity.iou.value == pytest.approx(0.75 * overlap)
    assert cavity.dice.value == pytest.approx(0.75 * 2 * overlap / (1 + overlap))


def test_probabilities_of_views_are_judged(tmp_path: Path, reference: ReferenceSet) -> None:
    for study in reference.studies:
        write_results(tmp_path / study.patient, study, views={View.PLAX: View.A4C})
    views = score(tmp_path, reference).views
    # half of the clips are wrong, all are nine tenths sure
    assert views.expected_calibration_error.value == pytest.approx(0.4)
    (only,) = views.reliability
    assert (only.cases, only.confidence, only.accuracy) == (8, pytest.approx(0.9), 0.5)
    # nothing tells the two apart but that both are called A4C
    assert views.macro_auroc.value == pytest.approx(0.5)
    assert views.macro_auroc.n == 8


def test_a_wrong_view_costs_its_class_only(tmp_path: Path, reference: ReferenceSet) -> None:
    for number, study in enumerate(reference.studies):
        write_results(tmp_path / study.patient, study, views={View.PLAX: View.TEE_LAX} if number == 0 else {})
    views = score(tmp_path, reference).views
    assert views.balanced_accuracy.value == pytest.approx((1 + 3 / 4) / 2)
    assert views.recall[View.PLAX].value == pytest.approx(3 / 4)
    assert views.recall[View.A4C].value == 1
    assert views.confusion is not None
    row = views.confusion.rows.index(View.PLAX)
    counts = dict(zip(views.confusion.columns, views.confusion.counts[row], strict=True))
    assert (counts["PLAX"], counts["TEE_LAX"], counts["none"]) == (3, 1, 0)


def test_missing_answers_are_counted_not_hidden(tmp_path: Path, reference: ReferenceSet) -> None:
    first, second, *_ = reference.studies
    write_results(tmp_path / "a", first, values={Quantity.LVEF: first.values[Quantity.LVEF] + 3})
    write_results(tmp_path / "b", second, change_labels=lambda _labels: {})
    metrics = score(tmp_path, reference)
    assert metrics.studies_without_results == 2
    assert metrics.views.balanced_accuracy.value == pytest.approx(0.5)
    assert metrics.views.balanced_accuracy.missing == 4
    # one patient of four has masks: the others count as 0
    assert metrics.segmentation.lv_cavity.dice.value == pytest.approx(0.25)
    assert metrics.segmentation.lv_cavity.dice.missing == 12
    assert (metrics.ejection_fraction.mae.n, metrics.ejection_fraction.mae.missing) == (2, 2)
    assert metrics.ejection_fraction.mae.value == pytest.approx(1.5)
    assert (metrics.lv_wall.ivsd.mae_mm.n, metrics.lv_wall.ivsd.mae_mm.missing) == (1, 3)
    assert metrics.lv_wall.ivsd.mae_mm.interval is None


def test_intervals_resample_patients_not_frames(tmp_path: Path) -> None:
    """Sixteen frames of two patients leave only three possible means."""
    studies = tuple(make_study(number) for number in range(2))
    reference = ReferenceSet("test", "", studies, "", "")

    def erase(labels: LabelMaps) -> LabelMaps:
        return {frame: np.zeros_like(label) for frame, label in labels.items()}

    write_results(tmp_path / "a", studies[0])
    write_results(tmp_path / "b", studies[1], change_labels=erase)
    dice = score(tmp_path, reference).segmentation.lv_cavity.dice
    assert (dice.value, dice.interval) == (0.5, (0.0, 1.0))


def test_the_same_results_give_the_same_numbers(tmp_path: Path, reference: ReferenceSet) -> None:
    for study in reference.studies:
        write_results(tmp_path / study.patient, study, views={View.PLAX: View.A3C})
    assert score(tmp_path, reference) == score(tmp_path, reference)


def test_given_views_are_not_scored(tmp_path: Path, reference: ReferenceSet) -> None:
    write_results(tmp_path, reference.studies[0])
    metrics, _ = score_predictions(reference, read_predictions(tmp_path), views_given=True)
    assert metrics.views.given
    assert metrics.views.balanced_accuracy == Score()
