"""The commands at the top of the guide on whole archives run as they stand, and so does its reading of the table."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

from echoapex.cli import run

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "cohort.md"
SLOW = "ECHOAPEX_COHORT_TESTS"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(SLOW not in os.environ, reason=f"slow: set {SLOW}=1 to analyse two simulated patients")
def test_the_commands_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed; it comes with the extra plots")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed; it comes with the extra dataframe")
    monkeypatch.chdir(tmp_path)
    commands = blocks("sh")[0].splitlines()
    assert [line.split()[1] for line in commands] == ["phantom", "analyze", "summarize", "measure"]
    for line in commands:
        assert run(shlex.split(line)[1:]) == 0, line
    assert ", 0 changed" in capsys.readouterr().err
    (tmp_path / "corrected.csv").write_text("clip_id,row_mm,column_mm\n")
    (correction,) = [line for body in blocks("sh") for line in body.splitlines() if "--calibration" in line]
    assert run(shlex.split(correction)[1:]) == 0
    (snippet,) = blocks("python")
    exec(snippet, {"pd": pandas})
    assert "LV ejection fraction" in capsys.readouterr().out
