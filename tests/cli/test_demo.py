"""The demonstration assembles real files, runs the verbs that it prints, and says what is missing."""

import re
from pathlib import Path

import pydicom
import pytest
from real_files import real_dicom

import echoapex.cli
from echoapex.cli import demo as demo_verb
from echoapex.cli.console import ExitCode
from echoapex.cli.demo import REAL_FILES, DemoError, SampleFile, assemble_real_study, find_sample
from echoapex.domain import ClipReport, Measurement, StudyReport
from echoapex.phantom.study import StudyPlan, write_study
from echoapex.vocabulary import Quantity, View


@pytest.fixture
def samples_installed() -> None:
    for sample in REAL_FILES:
        real_dicom(sample.name)


@pytest.mark.usefixtures("samples_installed")
def test_the_real_files_are_one_study_of_one_patient(tmp_path: Path) -> None:
    copies = assemble_real_study(tmp_path / "real")
    assert [copy.name for copy in copies] == [sample.name for sample in REAL_FILES]
    headers = [pydicom.dcmread(copy, stop_before_pixels=True) for copy in copies]
    assert len({header.StudyInstanceUID for header in headers}) == 1
    assert len({header.get("PatientID", "") for header in headers}) == 1


def test_a_missing_package_is_named_with_its_remedy() -> None:
    with pytest.raises(DemoError, match=r"pip install 'echoapex\[demo\]' \(package no-such-data\)"):
        find_sample(SampleFile("no-such-data", "no_such_package", "data", "clip.dcm", ""))
    with pytest.raises(DemoError, match=r"clip\.dcm is not installed"):
        find_sample(SampleFile("pydicom", "pydicom", "data", "clip.dcm", ""))


def test_without_the_samples_nothing_runs(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(demo_verb, "REAL_FILES", (SampleFile("no-such-data", "no_such_package", "", "x.dcm", ""),))
    assert echoapex.cli.run(["demo", "--out", str(tmp_path)]) == ExitCode.NOTHING_ANALYSED
    assert "pip install" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("samples_installed")
def test_the_verbs_run_in_order_and_the_worst_exit_code_is_returned(tmp_path: Path, monkeypatch, capsys) -> None:
    steps: list[list[str]] = []
    found = StudyReport(
        echoapex_version="1",
        clips=(ClipReport(clip_id="c", file="c", frames=1, size=(8, 8), content="b_mode"),),
        measurements=(Measurement(quantity=Quantity.LVEF, value=56.2, method="regression from the clip"),),
    )

    def record(arguments: list[str]) -> int:
        steps.append(arguments)
        if arguments[0] == "analyze":
            results = Path(arguments[arguments.index("--out") + 1])
            results.mkdir()
            report = found if "real" in arguments[1] else StudyReport(echoapex_version="1")
            (results / "results.json").write_text(report.model_dump_json(), encoding="utf-8")
        else:
            drawn = Path(arguments[arguments.index("--out") + 1]) / "study-1000001"
            write_study(drawn, 1_000_001, StudyPlan((View.PLAX,), 96))
        return ExitCode.SOME_FILES_FAILED if "real" in arguments[1] else ExitCode.ALL_GOOD

    monkeypatch.setattr(echoapex.cli, "run", record)
    assert demo_verb.demo(out=tmp_path, device="cpu") == ExitCode.SOME_FILES_FAILED
    assert [step[0] for step in steps] == ["phantom", "analyze", "analyze"]
    assert steps[0][steps[0].index("--seed") + 1] == "1000001"
    assert steps[1][1] == str(tmp_path / "real")
    printed = capsys.readouterr().out
    summary = printed.split("What was found")[1]
    assert re.search(r"^LV ejection fraction +56 % +- +\d+\.\d % *$", summary, re.MULTILINE), summary
    assert re.search(r"^clips analysed +1 of 1 +0 of 0 *$", summary, re.MULTILINE)
    assert f"{tmp_path / 'real-results'}/preview.png" in summary
    assert f"{tmp_path / 'phantom-results'}/preview.png" in summary
    assert str(tmp_path / "phantom" / "study-1000001" / "truth.json") in summary
    assert "not a medical device" in summary
    assert re.search(r"^\d+ s in all", summary, re.MULTILINE)


@pytest.mark.usefixtures("samples_installed")
def test_a_study_without_results_is_said(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(echoapex.cli, "run", lambda arguments: ExitCode.NOTHING_ANALYSED)
    assert demo_verb.demo(out=tmp_path, device="cpu") == ExitCode.NOTHING_ANALYSED
    summary = capsys.readouterr().out.split("Where to look")[1]
    assert summary.count("no results, see the messages above") == 2
