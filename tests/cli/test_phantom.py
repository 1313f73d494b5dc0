"""``echoapex phantom``: studies on disk, exit codes, one line for a mistake."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from echoapex.cli import run
from echoapex.cli.console import ExitCode
from echoapex.cli.phantom import parse_views
from echoapex.io.dicom.reader import open_dicom
from echoapex.phantom.study import StudyPlanError
from echoapex.phantom.truth import read_truth
from echoapex.vocabulary import View


def phantom(out: Path, *options: str) -> int:
    return run(["phantom", "--out", str(out), "--size", "96", "--quiet", *options])


def test_studies_are_written_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = (
        "--studies",
        "2",
        "--seed",
        "1000003",
        "--views",
        "psax_pm,PSAX_APEX",
        "--labels",
        "all",
        "--syntax",
        "rle",
        "--ecg",
    )
    assert phantom(tmp_path, *options) == ExitCode.ALL_GOOD
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study-1000003", "study-1000004"]
    truth = read_truth(tmp_path / "study-1000003")
    assert [clip.view for clip in truth.clips] == [View.PSAX_PM, View.PSAX_APEX]
    assert truth.held_out
    assert truth.transfer_syntax == "rle"
    assert open_dicom(tmp_path / "study-1000003" / truth.clips[0].file).header.ecg is not None
    assert len(truth.clips[0].label_frames) == len(truth.clips[0].frame_times_s)
    assert phantom(tmp_path, *options) == ExitCode.ALL_GOOD
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--studies", "1", "--seed", "1", "--views", "A4C,PLX"), "PLX is not a view"),
        (("--studies", "0", "--seed", "1"), "studies"),
        (("--studies", "1", "--seed", "-1"), "seed"),
        (("--studies", "2", "--seed", "999999"), "held-out"),
        (("--studies", "1"), "--seed"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert phantom(tmp_path, *options) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not list(tmp_path.glob("study-*"))


def test_views_are_read_from_a_list() -> None:
    assert parse_views("") == tuple(View)
    assert parse_views(" a4c, PLAX ,") == (View.A4C, View.PLAX)
    with pytest.raises(StudyPlanError, match="known: A4C"):
        parse_views("apical")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_do_not_go_on_when_the_command_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", "from echoapex.cli import main; main()", "phantom", "--out", str(tmp_path)]
    options = ["--studies", "6", "--seed", "3", "--size", "512", "--workers", "2", "--quiet"]
    with subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL, start_new_session=True) as process:
        assert until(lambda: len(list(tmp_path.glob(".study-*.partial"))) == 2)
        process.send_signal(number)

    assert until(lambda: not session_of(process.pid))
    assert process.returncode == (143 if number == signal.SIGTERM else -number)
    assert list(tmp_path.iterdir()) == []


def session_of(leader: int) -> list[int]:
    """The living processes of the session that a process began."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def until(condition: Callable[[], bool]) -> bool:
    """Whether something becomes true; how soon depends on the machine, so the limit is generous."""
    for _ in range(1800):
        if condition():
            return True
        time.sleep(0.1)
    return False
