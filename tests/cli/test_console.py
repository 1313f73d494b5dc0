from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from echoapex.cli import console
from echoapex.cli.console import ExitCode, ProgressBar, complain


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


def run_unread(arguments: list[str], *, errors_too: bool = False) -> tuple[int, str]:
    """The exit code and the messages of a command whose output nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    script = f"from echoapex.cli import main; main({arguments!r})"
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=writer, stderr=writer if errors_too else subprocess.PIPE, timeout=120,
        check=False,
    )  # fmt: skip
    os.close(writer)
    return done.returncode, (done.stderr or b"").decode()


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.parametrize(
    "arguments",
    [["models", "list"], ["models", "card", "--json"], ["datasets"], ["--help"], ["phantom", "--help"], ["--version"]],
)
def test_a_reader_that_goes_away_ends_the_command_quietly(arguments: list[str]) -> None:
    assert run_unread(arguments) == (ExitCode.NOBODY_READS, "")


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_so_does_one_of_the_messages(tmp_path: Path) -> None:
    missing = ["evaluate", "--dataset", "phantom", "--root", str(tmp_path), "--out", str(tmp_path / "out")]
    assert run_unread(missing, errors_too=True)[0] == ExitCode.NOBODY_READS


def test_an_error_of_a_file_is_still_told(tmp_path: Path) -> None:
    script = f"from echoapex.cli import main; main(['evaluate', '--dataset', 'phantom', '--root', {str(tmp_path)!r}])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (ExitCode.USAGE, 1)
