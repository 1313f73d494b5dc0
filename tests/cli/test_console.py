from __future__ import annotations

import io

import pytest
from rich.console import Console

from echoapex.cli import console
from echoapex.cli.console import ProgressBar, complain


def shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, quiet: bool = False) -> str:
    stream = io.StringIO()
    monkeypatch.setattr(console, "ERRORS", Console(file=stream, force_terminal=terminal, width=100))
    with ProgressBar(quiet=quiet) as bar:
        bar.found(2)
        bar.begun("[a].dcm")
        bar.finished("[a].dcm", "failed: is empty")
    return stream.getvalue()


def test_progress_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, terminal=True)
    assert "[a].dcm" in text
    assert "failed: is empty" in text
    assert shown(monkeypatch, terminal=False) == ""
    assert shown(monkeypatch, terminal=True, quiet=True) == ""


def test_a_complaint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    complain("analyze", "first\nsecond")
    assert capsys.readouterr().err == "echoapex analyze: first second\n"
