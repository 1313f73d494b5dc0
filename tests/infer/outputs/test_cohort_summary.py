"""The summary of a cohort: numbers that can be counted by hand, pictures that are there, and no names."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from infer.conftest import AnalysedStudy
from PIL import Image

from echoapex.domain.reported_study import MissingValue, ReportedStudy
from echoapex.infer.outputs import cohort_plots
from echoapex.infer.outputs.cohort_plots import PlotError, write_plots
from echoapex.infer.outputs.cohort_summary import (
    CohortSummary,
    QuantitySummary,
    merge_studies,
    summarize_cohort,
    write_summary,
)
from echoapex.infer.study.stored import read_stored
from echoapex.vocabulary import Quantity

ERRORS = ({"file": "file-1", "reason": "is empty", "remedy": "copy it"},) * 2


@pytest.fixture(scope="module")
def study(analysed: AnalysedStudy) -> ReportedStudy:
    (found,) = read_stored(analysed.out).studies()
    return found


def with_value(study: ReportedStudy, digest: str, value: float | None) -> ReportedStudy:
    """The study under another name, with another EDV index, or with none."""
    values = tuple(
        replace(item, measurement=item.measurement.model_copy(update={"value": value}))
        if item.quantity is Quantity.EDV_INDEX
        else item
        for item in study.values
        if item.quantity is not Quantity.EDV_INDEX or value is not None
    )
    missing = study.missing if value is not None else (*study.missing, MissingValue(Quantity.EDV_INDEX, "needs: BSA"))
    return replace(study, digest=digest, values=values, missing=missing)


@pytest.fixture(scope="module")
def cohort(study: ReportedStudy) -> list[ReportedStudy]:
    (limits,) = next(value.limits for value in study.values if value.quantity is Quantity.EDV_INDEX)
    assert limits.low is not None
    assert limits.high is not None
    numbers = [limits.low - 1, limits.low, (limits.low + limits.high) / 2, limits.high + 5, None]
    return [with_value(study, f"study-{number}", value) for number, value in enumerate(numbers)]


def of(summary: CohortSummary, quantity: Quantity) -> QuantitySummary:
    return next(item for item in summary.quantities if item.quantity == quantity.value)


def test_the_numbers_are_those_that_one_counts(cohort: list[ReportedStudy]) -> None:
    summary = summarize_cohort(cohort, ERRORS)
    numbers = [value.measurement.value for study in cohort if (value := study.find(Quantity.EDV_INDEX))]
    found = of(summary, Quantity.EDV_INDEX)
    assert (found.studies, found.measured, found.with_limits) == (5, 4, 4)
    assert found.median == np.median(numbers)
    assert (found.quartile_low, found.quartile_high) == tuple(np.quantile(numbers, (0.25, 0.75)))
    assert (found.lowest, found.highest) == (min(numbers), max(numbers))
    assert (found.below_percent, found.above_percent) == (25, 25), "a value on the limit is normal"
    assert found.most_frequent_reason == "needs: BSA"
    assert (summary.studies, summary.clips_analysed, summary.files_failed) == (5, 15, 2)
    assert summary.clips_by_view == {"A2C": 5, "A4C": 5, "PLAX": 5}
    assert ("file failed", "is empty", 2) in summary.refused
    assert ("no edv_index", "needs: BSA", 1) in summary.refused
    assert len(summary.quantities) == len(Quantity)


def test_a_study_in_two_folders_counts_once(cohort: list[ReportedStudy]) -> None:
    merged, left_out = merge_studies([cohort[:3], cohort[2:]])
    assert [study.digest for study in merged] == [study.digest for study in cohort]
    assert left_out == 1


def test_copies_of_many_clips_are_one_reason(study: ReportedStudy) -> None:
    aside = [study.clips[0].model_copy(update={"set_aside": f"copy of clip clip-12ab{n}"}) for n in range(3)]
    summary = summarize_cohort([replace(study, clips=(*study.clips, *aside))], ())
    assert ("clip set aside", "copy of clip", 3) in summary.refused
    assert summary.clips_set_aside == 3


def test_the_files_hold_the_numbers_and_no_names(cohort: list[ReportedStudy], tmp_path: Path) -> None:
    summary = summarize_cohort(cohort, ERRORS)
    written = write_summary(tmp_path, summary)
    assert [path.name for path in written] == ["summary.csv", "refused.csv", "summary.json"]
    with (tmp_path / "summary.csv").open(newline="") as stream:
        rows = {row["quantity"]: row for row in csv.DictReader(stream)}
    assert float(rows["edv_index"]["median"]) == pytest.approx(of(summary, Quantity.EDV_INDEX).median, rel=1e-5)
    assert rows["edv_index"]["measured"] == "4"
    assert json.loads((tmp_path / "summary.json").read_text())["studies"] == 5
    text = "".join(path.read_text() for path in written)
    names = [clip.clip_id for study in cohort for clip in study.clips] + [study.digest for study in cohort]
    assert not any(name in text for name in names)


def test_pictures_are_drawn_and_are_the_same_each_time(cohort: list[ReportedStudy], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed; it comes with the extra plots")
    summary = summarize_cohort(cohort, ERRORS)
    written = write_plots(tmp_path, cohort, summary, "both")
    assert {path.name for path in written} == {"values.png", "values.svg", "clips.png", "clips.svg"}
    for name in ("values.png", "clips.png"):
        with Image.open(tmp_path / name) as image:
            pixels = np.asarray(image.convert("RGB"))
        bars = (pixels == (0x48, 0x78, 0xA8)).all(axis=-1)
        assert bars.mean() > 0.01, "there are bars"
    assert ((np.asarray(Image.open(tmp_path / "values.png").convert("RGB")) == (0xCF, 0xE8, 0xCF)).all(-1)).any()
    first = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in write_plots(tmp_path, cohort, summary, "both")] == first
    assert write_plots(tmp_path, cohort, summary, "none") == ()


def test_an_empty_cohort_is_drawn_and_counted(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed; it comes with the extra plots")
    summary = summarize_cohort([], ERRORS)
    write_summary(tmp_path, summary)
    assert of(summary, Quantity.EDV).median is None
    assert len(write_plots(tmp_path, [], summary, "png")) == 2


def test_the_extra_is_named_where_it_is_missing(
    cohort: list[ReportedStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohort_plots, "find_spec", lambda _: None)
    with pytest.raises(PlotError, match=r"echoapex\[plots\]"):
        write_plots(tmp_path, cohort, summarize_cohort(cohort, ()), "png")
