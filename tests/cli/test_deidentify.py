"""``echoapex deidentify``: results, exit codes, one line for a mistake, and stopping."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from deidentified import BrightBoxReader, write_fan
from header_canaries import MARK, canaries_in
from pydicom import dcmread

from echoapex.cli import run
from echoapex.cli.console import ExitCode
from echoapex.io.deidentification import text_search


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for number in (1, 2):
        write_fan(tmp_path / "archive" / f"{MARK} {number}.dcm", SOPInstanceUID=f"1.2.3.{number}", PatientSex="F")
    return tmp_path / "archive"


@pytest.fixture(autouse=True)
def _quick_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recogniser has its own tests."""
    monkeypatch.setattr(text_search, "RapidTextReader", BrightBoxReader)


def deidentify(*arguments: object) -> int:
    return run(["deidentify", *map(str, arguments)])


def test_files_a_proof_a_key_and_names_are_made_and_said(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deidentify(archive, "--out", tmp_path / "clean") == ExitCode.ALL_GOOD

    said = " ".join(capsys.readouterr().err.split())
    assert "2 files written, 0 refused" in said
    assert "clean.key: keep it" in said
    assert "proof.html" in said
    assert MARK not in said
    assert len(list((tmp_path / "clean").rglob("*.dcm"))) == 2
    assert canaries_in(tmp_path / "clean") == []
    for secret in ("clean.key", "clean.names.json"):
        assert stat.S_IMODE((tmp_path / secret).stat().st_mode) == 0o600
    assert MARK in (tmp_path / "clean.names.json").read_text()

    assert deidentify(archive, "--out", tmp_path / "clean") == ExitCode.ALL_GOOD
    said = " ".join(capsys.readouterr().err.split())
    assert "2 files written (2 of them before), 0 refused" in said
    assert "made the secret key" not in said


def test_options_reach_the_files(archive: Path, tmp_path: Path) -> None:
    options = ("--retain", "patient-characteristics", "--retain", "modified-dates", "--clean", "descriptors")
    assert deidentify(archive, "--out", tmp_path / "clean", "--profile", "basic", *options) == ExitCode.ALL_GOOD
    written = dcmread(next((tmp_path / "clean").rglob("*.dcm")))
    assert written.PatientSex == "F"
    assert written.LongitudinalTemporalInformationModified == "MODIFIED"
    codes = [item.CodeValue for item in written.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113101", "113108", "113107", "113105"]


def test_exit_codes_tell_about_refused_files(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (archive / f"{MARK}.dcm").write_bytes(b"")
    assert deidentify(archive, "--out", tmp_path / "some", "--quiet") == ExitCode.SOME_FILES_FAILED
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].endswith(": is empty; copy or export the file again")
    assert MARK not in lines[0]
    (tmp_path / "nothing").mkdir()
    assert deidentify(tmp_path / "nothing", "--out", tmp_path / "none") == ExitCode.NOTHING_ANALYSED


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--retain", "safe-private"), "the option safe-private is refused: no private element"),
        (("--clean", "graphics"), "the option graphics is refused"),
        (("--clean", "structured-content"), "the option structured-content is refused"),
        (("--retain", "everything"), "there is no option 'everything'; known: uids"),
        (("--retain", "full-dates", "--retain", "modified-dates"), "exclude each other"),
        (("--key", "clean/my.key"), "must not lie in OUT"),
        (("--profile", "none"), "basic"),
    ],
)
def test_a_mistake_is_one_line_and_makes_nothing(
    arguments: tuple[str, ...], complaint: str, archive: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert deidentify(archive, "--out", "clean", *arguments) == ExitCode.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_no_source_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deidentify("--out", tmp_path / "clean") == ExitCode.USAGE
    assert "give at least one folder or file" in capsys.readouterr().err


def test_a_missing_recogniser_names_the_extra_and_makes_nothing(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    assert deidentify(archive, "--out", tmp_path / "clean") == ExitCode.USAGE
    assert "pip install 'echoapex[deidentify]', or give --no-ocr" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]
    assert deidentify(archive, "--out", tmp_path / "clean", "--no-ocr") == ExitCode.ALL_GOOD
    assert "NOT searched" in (tmp_path / "clean" / "proof.json").read_text()


@pytest.mark.skipif(os.name != "posix", reason="SIGTERM is POSIX's")
def test_sigterm_leaves_whole_files_and_the_same_command_goes_on(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    for number in range(60):
        write_fan(archive / f"{number}.dcm", SOPInstanceUID=f"1.2.3.{number}")
    command = [sys.executable, "-c", "from echoapex.cli import main; main()", "deidentify", archive]
    command += ["--out", tmp_path / "clean", "--no-ocr"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "clean").rglob("*.dcm")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)

    assert process.returncode == ExitCode.TERMINATED
    assert "interrupted; what was written is whole" in said
    assert "Traceback" not in said
    files = list((tmp_path / "clean").rglob("*.dcm"))
    assert 0 < len(files) < 60
    assert all(dcmread(path).pixel_array.any() for path in files)
    assert not list((tmp_path / "clean").rglob("*.partial"))
    assert deidentify(archive, "--out", tmp_path / "clean", "--no-ocr", "--quiet") == ExitCode.ALL_GOOD
    assert len(list((tmp_path / "clean").rglob("*.dcm"))) == 60
