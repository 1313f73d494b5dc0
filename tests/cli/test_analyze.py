"""The command as a shell sees it: exit codes, standard output, one line per mistake."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import LabelledStudy

from echoapex.cli import main, run
from echoapex.cli.analyze import exit_code_of
from echoapex.cli.console import ExitCode
from echoapex.domain import ClipReport, StudyReport
from echoapex.infer.clip.models import TaskInterpreter
from echoapex.infer.study.cohort import CohortWork, WorkerModels
from echoapex.io.local_engine import InlineEngine, LocalEngine
from echoapex.models.registry import import_set

RESEARCH = Path(__file__).resolve().parents[2] / "bundles" / "research"


@pytest.fixture
def perfect_models(labelled_study: LabelledStudy, monkeypatch: pytest.MonkeyPatch) -> LabelledStudy:
    """The command with models that know the phantom study."""
    monkeypatch.setattr(TaskInterpreter, "load", classmethod(lambda *_: labelled_study.oracle))
    return labelled_study


def clip(set_aside: str = "") -> ClipReport:
    return ClipReport(clip_id="c", file="c", frames=1, size=(8, 8), content="b_mode", set_aside=set_aside)


@pytest.mark.parametrize(
    ("clips", "errors", "code"),
    [
        ((clip(),), 0, ExitCode.ALL_GOOD),
        ((clip(), clip("M-mode")), 0, ExitCode.ALL_GOOD),
        ((clip(),), 1, ExitCode.SOME_FILES_FAILED),
        ((clip("M-mode"),), 0, ExitCode.NOTHING_ANALYSED),
        ((), 1, ExitCode.NOTHING_ANALYSED),
        ((), 0, ExitCode.NOTHING_ANALYSED),
    ],
)
def test_exit_codes(clips: tuple[ClipReport, ...], errors: int, code: ExitCode) -> None:
    rows = ({"file": "f", "reason": "r", "remedy": "m"},) * errors
    assert exit_code_of(StudyReport(echoapex_version="1", clips=clips, errors=rows)) is code


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["analyze"], "nothing was given"),
        (["analyze", "x"], "--out"),
        (["analyze", "x", "--out", "o", "--devise", "cpu"], "--devise"),
        (["analyze", "x", "--out", "o", "--device", "abacus"], "abacus"),
        (["analyze", __file__, "--out", "o", "--bundle", "no-such-set"], "no-such-set"),
        (["analyze", __file__, "--json", "--dicom-sr"], "--dicom-seg and --dicom-sc write files; give --out FOLDER"),
        (["analyze", __file__, "--json", "--dicom-sc"], "--dicom-seg and --dicom-sc write files; give --out FOLDER"),
        (["analyze", __file__, "--out", "o", "--dicom-sr-template", "5200"], "--dicom-sr-template is for --dicom-sr"),
        (["analyze", __file__, "--out", "o", "--dicom-sr", "--dicom-sr-template", "1600"], "1600"),
        (["analyze", __file__, "--json", "--report"], "--report, --fhir and --cohort write files; give --out FOLDER"),
        (["analyze", __file__, "--json", "--cohort", "csv"], "--report, --fhir and --cohort write files"),
        (["analyze", __file__, "--out", "o", "--cohort", "xml"], "xml"),
        (["analyze", "nothere", "--out", "o"], "nothere: does not exist; check the path"),
        (["analyze", "nothere", "--json"], "nothere: does not exist; check the path"),
        (["analyze", "a", "b", "c", "--out", "o"], "a and the other 2: do not exist; check the path"),
        (["analyze", "nothere", "--out", "o", "--bundle", "no-such-set"], "nothere: does not exist"),
        (["analyze", __file__, "--json", "--workers", "2"], "several workers write files; give --out FOLDER"),
        (["analyze", __file__, "--out", "o", "--workers", "0"], "workers"),
        (["analyze", __file__, "--out", "o", "--ray-address", "h:1"], "--ray-address is for --engine ray"),
        (
            ["analyze", __file__, "--out", "o", "--engine", "ray", "--device", "cuda"],
            "--engine ray computes on processors; leave out --device cuda",
        ),
        (["analyse", "x"], "did you mean 'analyze'?"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == ExitCode.USAGE
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 1
    assert line in output.err
    assert list(tmp_path.iterdir()) == []


def test_json_goes_to_standard_output_and_nothing_else(
    perfect_models: LabelledStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["analyze", str(perfect_models.folder / "PLAX.dcm"), "--json", "--contours", "ed_es", "--device", "cpu"])
    assert code == ExitCode.ALL_GOOD
    output = capsys.readouterr()
    report = StudyReport.model_validate(json.loads(output.out))
    assert len(report.clips) == 1
    (line,) = output.err.splitlines()
    assert "learned outlines from simulated hearts only" in line, "the one thing that is said on standard error"


def test_weights_that_saw_no_patient_say_so_and_name_a_set_that_did(
    perfect_models: LabelledStudy,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ECHOAPEX_HOME", str(tmp_path / "home"))
    arguments = ["analyze", str(perfect_models.folder / "PLAX.dcm"), "--no-overlays", "--contours", "ed_es"]
    assert run([*arguments, "--out", str(tmp_path / "one")]) == ExitCode.ALL_GOOD
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == (
        "echoapex analyze: the weights 'phantom' learned outlines from simulated hearts only; a set that also learned "
        "from patients is in the repository (CC BY-NC-SA 4.0, non-commercial): `echoapex models import "
        "bundles/research`, then --bundle research"
    )
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    assert manifest["weights_note"] == "learned outlines from simulated hearts only"

    import_set(RESEARCH)
    assert run([*arguments, "--out", str(tmp_path / "two")]) == ExitCode.ALL_GOOD
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(
        "the set 'research' also learned from patients (CC BY-NC-SA 4.0, non-commercial): use --bundle research"
    )

    assert run([*arguments, "--out", str(tmp_path / "three"), "--bundle", "research"]) == ExitCode.ALL_GOOD
    assert "simulated hearts" not in capsys.readouterr().err
    assert json.loads((tmp_path / "three" / "manifest.json").read_text())["weights_note"] == ""

    (tmp_path / "note.dcm").write_text("no clip")
    assert run(["analyze", str(tmp_path / "note.dcm"), "--out", str(tmp_path / "four")]) == ExitCode.NOTHING_ANALYSED
    assert "simulated hearts" not in capsys.readouterr().err, "only where the weights were used on a study"


def test_values_are_summarised_for_people(
    perfect_models: LabelledStudy, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["analyze", str(perfect_models.folder / "PLAX.dcm"), "--out", str(tmp_path / "o"), "--no-overlays"]
    assert run(arguments) == ExitCode.ALL_GOOD
    output = capsys.readouterr()
    assert output.out == ""
    assert "not a medical device" in output.err
    assert "1 analysed, 0 set aside, 0 failed" in output.err
    assert "\x1b" not in output.err, "no progress bar and no colours when piped"
    assert not (tmp_path / "o" / "overlays").exists()


def test_dicom_objects_are_written_when_asked_for(perfect_models: LabelledStudy, tmp_path: Path) -> None:
    clip, out = str(perfect_models.folder / "PLAX.dcm"), tmp_path / "o"
    options = ["--no-overlays", "--quiet", "--contours", "ed_es", "--dicom-sr", "--dicom-seg"]
    assert run(["analyze", clip, "--out", str(out), *options]) == ExitCode.ALL_GOOD
    suffixes = sorted(path.name.rpartition("-")[2] for path in (out / "dicom").iterdir())
    assert suffixes == ["seg.dcm", "sr.dcm", "sr.dcm"]


def test_the_templates_of_reports_can_be_chosen(perfect_models: LabelledStudy, tmp_path: Path) -> None:
    clip, out = str(perfect_models.folder / "PLAX.dcm"), tmp_path / "o"
    options = ["--no-overlays", "--quiet", "--contours", "ed_es", "--dicom-sr"]
    chosen = ["--dicom-sr-template", "5200", "--dicom-sr-template", "1500"]
    assert run(["analyze", clip, "--out", str(out), *options, *chosen]) == ExitCode.ALL_GOOD
    names = sorted(path.name for path in (out / "dicom").iterdir())
    assert names == ["study-1-measurements-sr.dcm", "study-1-procedure-sr.dcm"]


def test_dicom_objects_need_highdicom(
    perfect_models: LabelledStudy, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echoapex.infer.outputs.dicom_files.find_spec", lambda name: None)
    clip = str(perfect_models.folder / "PLAX.dcm")
    assert run(["analyze", clip, "--out", str(tmp_path / "o"), "--dicom-sr"]) == ExitCode.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'echoapex[dicom]'" in line


def test_quiet_says_nothing(perfect_models: LabelledStudy, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["analyze", str(perfect_models.folder / "PLAX.dcm"), "--out", str(tmp_path / "o"), "--quiet"]
    assert run([*arguments, "--no-overlays"]) == ExitCode.ALL_GOOD
    output = capsys.readouterr()
    assert output.out == output.err == ""


def test_a_path_that_does_not_exist_is_told_before_the_weights_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_slow(*_: object) -> None:
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr(TaskInterpreter, "load", classmethod(too_slow))
    assert run(["analyze", str(tmp_path / "nothere"), "--json"]) == ExitCode.USAGE


def test_of_several_paths_a_missing_one_is_an_error_row_and_the_rest_is_analysed(
    perfect_models: LabelledStudy, tmp_path: Path
) -> None:
    paths = [str(tmp_path / "nothere"), str(perfect_models.folder / "PLAX.dcm")]
    out = tmp_path / "o"
    options = ["--out", str(out), "--no-overlays", "--quiet", "--contours", "ed_es"]
    assert run(["analyze", *paths, *options]) == ExitCode.SOME_FILES_FAILED
    report = StudyReport.model_validate_json((out / "results.json").read_bytes())
    assert len(report.clips) == 1
    (row,) = report.errors
    assert row["reason"] == "does not exist"
    assert "does not exist" in (out / "errors.csv").read_text()


def test_ctrl_c_ends_with_its_own_code(
    perfect_models: LabelledStudy,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("echoapex.infer.study.analyze.analyze_clip", interrupt)
    code = run(["analyze", str(perfect_models.folder / "PLAX.dcm"), "--out", str(tmp_path / "o")])
    assert code == ExitCode.INTERRUPTED
    assert "the same command" in capsys.readouterr().err
    assert json.loads((tmp_path / "o" / "manifest.json").read_text())["complete"] is False


def test_help_is_quick_and_says_what_this_is_not() -> None:
    script = (
        "import sys; from echoapex.cli import run; run(['--help']); "
        "heavy = {'torch', 'cv2', 'pydicom'} & set(sys.modules); sys.exit(bool(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "not a medical device" in done.stdout
    assert "analyze" in done.stdout


def test_importing_echoapex_imports_no_torch() -> None:
    script = "import sys, echoapex; assert callable(echoapex.__version__.split); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


@pytest.mark.parametrize(("wanted", "found"), [("auto", "fp32"), ("bf16", "bf16")])
def test_the_manifest_says_in_which_precision_it_was_found(
    wanted: str, found: str, perfect_models: LabelledStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("echoapex.models.precision.can_multiply_bf16", lambda kind: False)
    monkeypatch.setattr("echoapex.models.precision.measure_bf16_speed", lambda kind: 0.05)
    clip = str(perfect_models.folder / "PLAX.dcm")
    options = ["--precision", wanted, "--device", "cpu", "--no-overlays"]
    assert run(["analyze", clip, "--out", str(tmp_path), *options]) == ExitCode.ALL_GOOD
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["precision"], manifest["options"]["precision"]) == (found, wanted)
    assert ("bf16 is 20.0 times slower than fp32" in capsys.readouterr().err) is (wanted == "bf16")


@pytest.mark.skipif(os.name != "posix", reason="SIGTERM is POSIX's")
def test_sigterm_leaves_valid_results_and_no_extracted_original(
    perfect_models: LabelledStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended while the first clip of an archive is open: its extracted file is the patient's original."""
    packed = shutil.make_archive(str(tmp_path / "study"), "zip", perfect_models.folder)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    extracted: list[Path] = []

    def terminated(*_: object) -> None:
        extracted.extend(path for path in temporary.rglob("*") if path.is_file())
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)  # the signal comes first

    monkeypatch.setattr("echoapex.infer.study.analyze.analyze_clip", terminated)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as caught:
            main(["analyze", packed, "--out", str(tmp_path / "o"), "--quiet"])
    finally:
        signal.signal(signal.SIGTERM, before)

    assert caught.value.code == ExitCode.TERMINATED
    assert len(extracted) == 1
    assert list(temporary.iterdir()) == []
    assert json.loads((tmp_path / "o" / "manifest.json").read_text())["complete"] is False
    StudyReport.model_validate_json((tmp_path / "o" / "results.json").read_bytes())


def test_reports_are_written_on_request_listed_and_removed_when_no_longer_asked_for(
    perfect_models: LabelledStudy, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ["analyze", str(perfect_models.folder), "--out", str(out), "--no-overlays", "--contours", "ed_es"]
    assert run([*command, "--quiet", "--report", "--fhir", "--cohort", "both"]) == ExitCode.ALL_GOOD
    asked = {"report.html", "report.pdf", "fhir/study-1.json", "cohort.csv", "cohort.parquet"}
    assert asked <= set(json.loads((out / "manifest.json").read_text())["files"])
    assert all((out / name).is_file() for name in asked)
    html = (out / "report.html").read_text()
    record = json.loads(next((out / "clips").glob("*.json")).read_text())
    assert record["study"] in html, "the study goes by the pseudonym of its records"
    assert "learned outlines from simulated hearts only" in html
    (out / "cohort.xlsx").write_text("mine")

    assert run([*command, "--quiet"]) == ExitCode.ALL_GOOD
    assert not any((out / name).exists() for name in asked), "old reports do not lie beside new results"
    assert (out / "cohort.xlsx").is_file(), "nothing else is removed"


def test_a_missing_library_is_one_line_before_any_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echoapex.io.pdf.find_spec", lambda _: None)
    assert run(["analyze", __file__, "--out", str(tmp_path / "out"), "--report"]) == ExitCode.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "echoapex analyze: the PDF report needs reportlab: pip install 'echoapex[report]'"
    assert not (tmp_path / "out").exists()


def test_several_workers_are_given_the_bundle_the_device_and_the_options(
    perfect_models: LabelledStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[CohortWork] = []

    def run_here(engine: LocalEngine, work: CohortWork, units: Any) -> Any:
        asked.append(work)
        return InlineEngine().run(work, units)

    monkeypatch.setattr(LocalEngine, "run", run_here)
    out = tmp_path / "out"
    command = ["analyze", str(perfect_models.folder), "--out", str(out), "--workers", "2", "--cohort", "csv"]
    assert run([*command, "--no-overlays", "--contours", "ed_es", "--device", "cpu", "--precision", "fp32"]) == 0
    (work,) = asked
    assert work.models == WorkerModels("phantom", "cpu", "fp32")
    assert (work.out, work.options.contours, work.options.overlays) == (out, "ed_es", False)
    assert (out / "cohort.csv").is_file()
    said = capsys.readouterr().err
    assert "3 analysed, 0 set aside, 0 failed" in said
    assert "LV end-diastolic volume" not in said, "the values of a cohort are in its table, not on the screen"
