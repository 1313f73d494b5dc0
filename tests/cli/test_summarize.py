"""``echoapex summarize`` as a shell sees it."""

from __future__ import annotations

from pathlib import Path

import pytest
from infer.conftest import AnalysedStudy, analysed

from echoapex.cli import run
from echoapex.cli.console import ExitCode

__all__ = ["analysed"]  # the fixture


def test_a_cohort_is_summarized_and_shown(
    analysed: AnalysedStudy, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    out = tmp_path / "summary"
    assert run(["summarize", str(analysed.out), str(analysed.out), "--out", str(out), "--plots", "none"]) == 0
    assert {path.name for path in out.iterdir()} == {"summary.csv", "refused.csv", "summary.json"}
    said = capsys.readouterr().err
    assert "studies: 1; clips: 3 analysed, 0 set aside; files that failed: 0" in said, (
        "a folder given twice counts once"
    )
    assert "LV end-diastolic volume" in said


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--out", "o"], "nothing was given to summarize"),
        (["nothere", "--out", "o", "--plots", "none"], "nothere: holds no results.json"),
        (["x", "--out", "o", "--plots", "gif"], "gif"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["summarize", *arguments]) == ExitCode.USAGE
    (said,) = capsys.readouterr().err.splitlines()
    assert line in said
    assert list(tmp_path.iterdir()) == []
