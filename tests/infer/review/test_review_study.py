"""The study follows its corrected clips, and the folder of a review serves all that a folder of results serves."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from conftest import LabelledStudy
from infer.conftest import AnalysedStudy
from recomputed_values import check_written_values

from echoapex.domain.corrections import ClipCorrection
from echoapex.infer.clip.analyze import ClipAnalysis
from echoapex.infer.outputs.files import read_masks
from echoapex.infer.outputs.report_files import ReportOutput
from echoapex.infer.outputs.reported_studies import ReportContext
from echoapex.infer.review.recomputation import CORRECTED, ClipRecomputation, ReviewError
from echoapex.infer.review.review_study import review_study, write_review
from echoapex.infer.study.records import describe_groups, leave_out_copies
from echoapex.infer.study.stored import StoredAnalysis, read_stored
from echoapex.io.study_files import open_only_clip
from echoapex.vocabulary import Quantity, View


@pytest.fixture(scope="module")
def stored(analysed: AnalysedStudy) -> StoredAnalysis:
    return read_stored(analysed.out)


@pytest.fixture(scope="module")
def plax(stored: StoredAnalysis, labelled_study: LabelledStudy) -> ClipRecomputation:
    truth = labelled_study.truth.find(View.PLAX)
    clip_id = next(clip.clip_id for clip in stored.report.clips if clip.view is View.PLAX)
    assert truth is not None
    with closing(open_only_clip(labelled_study.folder / truth.file)) as source:
        return ClipRecomputation(labelled_study.oracle, source, stored.manifest.options, clip_id)


@pytest.fixture(scope="module")
def doubled(plax: ClipRecomputation) -> dict[str, ClipAnalysis]:
    """The parasternal clip with pixels of twice the size."""
    spacing = plax.header.spacing
    assert spacing is not None
    sizes = {"row_mm": 2 * spacing.row_mm, "column_mm": 2 * spacing.column_mm}
    clip_id = plax.header.clip_id
    return {clip_id: plax.reanalyze(ClipCorrection.model_validate({"clip_id": clip_id, **sizes}))}


def test_a_review_without_corrections_is_the_analysis(stored: StoredAnalysis, plax: ClipRecomputation) -> None:
    assert review_study(stored, {}).report.model_dump_json() == stored.report.model_dump_json()
    unchanged = {plax.header.clip_id: plax.reanalyze(ClipCorrection(clip_id=plax.header.clip_id))}
    found = review_study(stored, unchanged)
    assert found.records == stored.records, "the same bytes as the analysis itself wrote"


def test_values_of_the_study_follow_and_say_what_was_corrected(
    stored: StoredAnalysis, doubled: dict[str, ClipAnalysis]
) -> None:
    report = review_study(stored, doubled).report
    (clip_id,) = doubled
    for quantity, factor in ((Quantity.LVIDD, 2.0), (Quantity.RWT, 1.0)):
        before, after = stored.report.find(quantity), report.find(quantity)
        assert before is not None
        assert after is not None
        assert after.value == pytest.approx(factor * before.value)
        assert after.details[CORRECTED] == {clip_id: ["calibration"]}
    mass, untouched = report.find(Quantity.LV_MASS), report.find(Quantity.EDV)
    assert mass is not None
    assert mass.details[CORRECTED] == {clip_id: ["calibration"]}
    assert untouched == stored.report.find(Quantity.EDV)
    assert report.lvh != stored.report.lvh
    assert "corrected by a person: 1 of 3 clips" in report.notes


def test_the_folder_serves_what_a_folder_of_results_serves(
    stored: StoredAnalysis, doubled: dict[str, ClipAnalysis], labelled_study: LabelledStudy, tmp_path: Path
) -> None:
    out = tmp_path / "reviewed"
    found = review_study(stored, doubled)
    (clip_id,) = doubled
    truth = labelled_study.truth.find(View.PLAX)
    assert truth is not None
    with closing(open_only_clip(labelled_study.folder / truth.file)) as source:
        write_review(out, stored, found, {clip_id: source})
    check_written_values(out)
    again = read_stored(out)
    assert again.report == found.report
    assert again.records == found.records
    for clip in again.report.clips:
        assert (out / "clips" / f"{clip.clip_id}.png").is_file()
        assert read_masks(out, clip.clip_id).keys() == read_masks(stored.folder, clip.clip_id).keys()
    with np.load(out / "masks" / f"{clip_id}.npz") as masks:
        assert masks["spacing_mm"][0] == pytest.approx(found.corrected[clip_id].report.row_mm)
    context = ReportContext(stored.manifest.bundle, (), "", False)
    written = ReportOutput(report=True, fhir=True, cohort="csv").write(
        out, again.report, describe_groups(leave_out_copies(again.records)), context
    )
    assert {"report.html", "report.pdf", "cohort.csv", "fhir/study-1.json"} <= set(written)
    assert "corrected by a person" in (out / "report.html").read_text()
    assert {record.run_key for record in again.records} != {record.run_key for record in stored.records}
    write_review(out, stored, review_study(stored, {}))
    assert (out / "results.json").read_bytes() == (stored.folder / "results.json").read_bytes()


def test_a_clip_of_another_study_and_the_folder_of_the_analysis_are_refused(
    stored: StoredAnalysis, doubled: dict[str, ClipAnalysis]
) -> None:
    with pytest.raises(ReviewError, match="is no clip of this study"):
        review_study(stored, {"clip-x": next(iter(doubled.values()))})
    with pytest.raises(ReviewError, match="give another folder"):
        write_review(stored.folder, stored, review_study(stored, {}))
