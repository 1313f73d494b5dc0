"""``echoapex measure`` as a shell sees it."""

from __future__ import annotations

from pathlib import Path

import pytest
from infer.conftest import AnalysedStudy, analysed

from echoapex.cli import run
from echoapex.cli.console import ExitCode
from echoapex.infer.study.stored import read_stored
from echoapex.vocabulary import View

__all__ = ["analysed"]  # the fixture


def test_without_out_values_are_compared_and_nothing_is_written(
    analysed: AnalysedStudy, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["measure", str(analysed.out)]) == ExitCode.ALL_GOOD
    clips, studies = capsys.readouterr().err.splitlines()
    assert clips.endswith("as they were, 0 changed, 5 kept from the frames")
    assert studies.endswith("as they were, 0 changed")
    assert list(tmp_path.iterdir()) == []


def test_a_corrected_calibration_is_written_into_another_folder(
    analysed: AnalysedStudy, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (clip,) = [clip for clip in analysed.report.clips if clip.view is View.PLAX]
    table, out = tmp_path / "table.csv", tmp_path / "new"
    table.write_text(f"clip_id,row_mm,column_mm\n{clip.clip_id},0.5,0.5\n")
    before = (analysed.out / "results.json").read_bytes()
    command = ["measure", str(analysed.out), "--calibration", str(table), "--out", str(out), "--cohort", "csv"]
    assert run(command) == ExitCode.ALL_GOOD
    assert "0 changed" not in capsys.readouterr().err
    assert {"results.json", "measurements.csv", "errors.csv", "cohort.csv", "manifest.json", "clips"} == {
        path.name for path in out.iterdir()
    }
    assert next(each for each in read_stored(out).report.clips if each.view is View.PLAX).row_mm == 0.5
    assert (analysed.out / "results.json").read_bytes() == before
    assert run(["summarize", str(out), "--out", str(tmp_path / "sum"), "--plots", "none"]) == ExitCode.ALL_GOOD


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["FOLDER", "--out", "FOLDER"], "choose another --out"),
        (["FOLDER", "--cohort", "csv"], "--cohort writes files; give --out FOLDER"),
        (["nothere"], "nothere: holds no results.json"),
        (["FOLDER", "--calibration", "nothere.csv"], "nothere.csv: the table of calibrations cannot be read"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], line: str, analysed: AnalysedStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(analysed.out) if word == "FOLDER" else word for word in arguments]
    assert run(["measure", *words]) == ExitCode.USAGE
    (said,) = capsys.readouterr().err.splitlines()
    assert line in said
