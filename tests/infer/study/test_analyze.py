"""A study: values combined, evidence complete, interrupted runs completed, errors collected."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pydicom
import pytest
from conftest import LabelledStudy
from infer.conftest import AnalysedStudy
from recomputed_values import check_written_values

from echoapex.domain import StudyReport
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.study import analyze as study_module
from echoapex.infer.study.analyze import AnalysisError, NamedInterpreter, SilentObserver, StudyAnalyzer
from echoapex.vocabulary import Quantity

QUICK = AnalysisOptions(contours="ed_es", overlays=False)


class Interrupting(SilentObserver):
    """Presses Ctrl-C when the second clip begins."""

    def __init__(self) -> None:
        self.begun_clips = 0

    def begun(self, name: str) -> None:
        self.begun_clips += 1
        if self.begun_clips == 2:
            raise KeyboardInterrupt


class Counting(SilentObserver):
    """Remembers the outcomes."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def finished(self, name: str, outcome: str) -> None:
        self.outcomes.append(outcome)


def models(study: LabelledStudy) -> NamedInterpreter:
    return NamedInterpreter(study.oracle, "oracle", "cpu")


def manifest_of(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return content


def test_the_study_has_its_values_with_evidence(labelled_study: LabelledStudy, analysed: AnalysedStudy) -> None:
    report, truth = analysed.report, labelled_study.truth
    assert report.ef is not None
    assert report.ef.value == pytest.approx(truth.ejection_fraction_percent)
    clips = {clip.clip_id for clip in report.clips}
    wanted = {Quantity.LVEF, Quantity.LVEF_DISCS, Quantity.EDV, Quantity.ESV, Quantity.IVSD, Quantity.LVIDD}
    wanted |= {Quantity.LVPWD, Quantity.LV_MASS, Quantity.LV_MASS_INDEX, Quantity.RWT, Quantity.BSA}
    assert wanted <= {item.quantity for item in report.measurements}
    for item in report.measurements:
        assert item.evidence
        assert {evidence.clip_id for evidence in item.evidence} <= clips
        assert all(evidence.input_sha256 for evidence in item.evidence)


def test_discs_are_biplane_and_near_the_truth(labelled_study: LabelledStudy, analysed: AnalysedStudy) -> None:
    discs = analysed.report.find(Quantity.LVEF_DISCS)
    assert discs is not None
    assert discs.method == "biplane discs"
    assert len(discs.evidence) == 2
    assert discs.value == pytest.approx(labelled_study.truth.ejection_fraction_percent, abs=8)


def test_lv_geometry_is_told_for_a_known_patient(analysed: AnalysedStudy) -> None:
    assert analysed.report.lvh.category is not None


def test_written_results_are_the_report(analysed: AnalysedStudy) -> None:
    written = StudyReport.model_validate_json((analysed.out / "results.json").read_bytes())
    assert written == analysed.report


def test_the_manifest_lists_what_is_there(analysed: AnalysedStudy) -> None:
    manifest = manifest_of(analysed.out)
    assert manifest["complete"]
    on_disk = {path.relative_to(analysed.out).as_posix() for path in analysed.out.rglob("*") if path.is_file()}
    assert on_disk == {*manifest["files"], "manifest.json"}
    assert manifest["clips_analysed"] == 3


def test_a_second_run_takes_over_what_is_done(labelled_study: LabelledStudy, tmp_path: Path) -> None:
    first = StudyAnalyzer(models(labelled_study), QUICK).run([labelled_study.folder], tmp_path)
    counting = Counting()
    second = StudyAnalyzer(models(labelled_study), QUICK, counting).run([labelled_study.folder], tmp_path)
    assert second == first
    assert all(outcome.endswith("(done before)") for outcome in counting.outcomes)
    assert manifest_of(tmp_path)["clips_reused"] == 3


def test_other_options_do_not_take_over(labelled_study: LabelledStudy, tmp_path: Path) -> None:
    StudyAnalyzer(models(labelled_study), QUICK).run([labelled_study.folder], tmp_path)
    other = QUICK.model_copy(update={"masks": False})
    StudyAnalyzer(models(labelled_study), other).run([labelled_study.folder], tmp_path)
    assert manifest_of(tmp_path)["clips_reused"] == 0
    assert not list((tmp_path / "masks").iterdir()), "masks of the earlier run must not stay behind"


def test_ctrl_c_leaves_a_valid_output_that_a_second_run_completes(
    labelled_study: LabelledStudy, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        StudyAnalyzer(models(labelled_study), QUICK, Interrupting()).run([labelled_study.folder], tmp_path)
    partial = StudyReport.model_validate_json((tmp_path / "results.json").read_bytes())
    assert len(partial.clips) == 1
    assert not manifest_of(tmp_path)["complete"]
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".partial")]
    whole = StudyAnalyzer(models(labelled_study), QUICK).run([labelled_study.folder], tmp_path)
    assert len(whole.clips) == 3
    manifest = manifest_of(tmp_path)
    assert manifest["complete"]
    assert manifest["clips_reused"] == 1


def test_one_loop_twice_in_a_study_counts_once(labelled_study: LabelledStudy, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    shutil.copy(labelled_study.folder / "PLAX.dcm", study / "first.dcm")
    again = pydicom.dcmread(labelled_study.folder / "PLAX.dcm")
    again.SOPInstanceUID = f"{again.SOPInstanceUID}.2"  # sent twice: another instance of the same pictures
    again.save_as(study / "second.dcm")
    report = StudyAnalyzer(models(labelled_study), QUICK).run([study], tmp_path / "out")
    once = StudyAnalyzer(models(labelled_study), QUICK).run([study / "first.dcm"])
    original, copy = report.clips
    assert copy.set_aside == f"copy of clip {original.clip_id}"
    assert copy.view is original.view
    assert [item.value for item in report.measurements] == [item.value for item in once.measurements]
    walls = report.find(Quantity.IVSD)
    assert walls is not None
    assert len(walls.evidence) == 1
    assert manifest_of(tmp_path / "out")["clips_set_aside"] == 1
    counting = Counting()
    assert StudyAnalyzer(models(labelled_study), QUICK, counting).run([study], tmp_path / "out") == report
    assert all(outcome.endswith("(done before)") for outcome in counting.outcomes)


def test_a_value_that_does_not_follow_from_the_files_is_noticed(analysed: AnalysedStudy, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(analysed.out, out)
    assert check_written_values(out) > 20
    written = json.loads((out / "results.json").read_text())
    for clip, quantity in ((0, "edv"), (0, "lvef_discs"), (2, "ivsd")):
        changed = json.loads(json.dumps(written))
        item = next(item for item in changed["clips"][clip]["measurements"] if item["quantity"] == quantity)
        item["value"] *= 1.01
        (out / "results.json").write_text(json.dumps(changed))
        with pytest.raises(AssertionError):
            check_written_values(out)


def test_a_bad_file_costs_one_line_and_no_more(labelled_study: LabelledStudy, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    shutil.copy(labelled_study.folder / "PLAX.dcm", study)
    (study / "cut.dcm").write_bytes((labelled_study.folder / "A4C.dcm").read_bytes()[:700])
    (study / "empty.dcm").touch()
    report = StudyAnalyzer(models(labelled_study), QUICK).run([study], tmp_path / "out")
    assert len(report.clips) == 1
    files = json.loads((tmp_path / "out.names.json").read_text())["files"]
    assert sorted(Path(files[error["file"]]).name for error in report.errors) == ["cut.dcm", "empty.dcm"]
    assert all(error["reason"] and error["remedy"] for error in report.errors)
    assert len((tmp_path / "out" / "errors.csv").read_text().splitlines()) == 3


def test_an_internal_error_tells_its_kind_and_not_its_message(
    labelled_study: LabelledStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Jane Doe")

    monkeypatch.setattr("echoapex.infer.study.analyze.analyze_clip", fail)
    report = StudyAnalyzer(models(labelled_study), QUICK).run([labelled_study.folder / "PLAX.dcm"], tmp_path)
    assert report.errors[0]["reason"] == "could not be analysed (internal error: RuntimeError)"
    assert "Jane" not in (tmp_path / "errors.csv").read_text()
    with pytest.raises(RuntimeError):
        StudyAnalyzer(models(labelled_study), QUICK, raise_unexpected=True).run([labelled_study.folder / "PLAX.dcm"])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_in_the_middle_of_a_clip_ends_the_run_and_says_so(
    labelled_study: LabelledStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fill(*_: object) -> None:
        raise OSError(code, "the disk is full")

    clips = [labelled_study.folder / name for name in ("PLAX.dcm", "A4C.dcm")]
    with monkeypatch.context() as full:
        full.setattr("echoapex.infer.study.analyze.write_record", fill)
        with pytest.raises(AnalysisError, match=r"clip-\w+: .* no room left \(the disk is full\); make room in --out"):
            StudyAnalyzer(models(labelled_study), QUICK).run(clips, tmp_path / "out")
    report = StudyAnalyzer(models(labelled_study), QUICK).run(clips, tmp_path / "out")
    assert (len(report.clips), report.errors) == (2, ())


def test_what_a_native_decoder_raises_costs_one_clip(
    labelled_study: LabelledStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Panic(BaseException):
        """No Exception, as the panics of Rust."""

    real, calls = study_module.analyze_clip, []

    def panic_once(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise Panic
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(study_module, "analyze_clip", panic_once)
    paths = [labelled_study.folder / "PLAX.dcm", labelled_study.folder / "A4C.dcm"]
    report = StudyAnalyzer(models(labelled_study), QUICK).run(paths, tmp_path / "out")
    assert len(report.clips) == len(report.errors) == 1
    assert manifest_of(tmp_path / "out")["files_failed"] == 1


def test_nothing_is_written_without_a_folder(labelled_study: LabelledStudy) -> None:
    report = StudyAnalyzer(models(labelled_study), QUICK).run([labelled_study.folder / "PLAX.dcm"])
    assert len(report.clips) == 1


def test_wrong_use_is_refused(labelled_study: LabelledStudy, tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="nothing was given"):
        StudyAnalyzer(models(labelled_study)).run([])
    file = tmp_path / "out"
    file.touch()
    with pytest.raises(AnalysisError, match="is a file"):
        StudyAnalyzer(models(labelled_study)).run([labelled_study.folder], file)
