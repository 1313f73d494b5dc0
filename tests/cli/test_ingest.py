"""``echoapex ingest``: a store and a key on disk, exit codes, one line for a mistake."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest
from drawn_studies import write_studies

from echoapex.cli import run
from echoapex.cli.console import ExitCode
from echoapex.data.stores.frame_store import FrameStore
from echoapex.io import local_engine
from echoapex.io.local_engine import InlineEngine


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_studies(tmp_path / "archive", [1, 2], clips=1, frames=3)


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool has its own tests."""
    monkeypatch.setattr(local_engine, "LocalEngine", lambda workers: InlineEngine())


def ingest(*arguments: object) -> int:
    return run(["ingest", *map(str, arguments)])


def test_a_store_and_its_key_are_made_and_said(
    tmp_path: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "frames"
    options = ("--size", 64, "--max-frames-per-clip", 2, "--val-percent", 50)
    assert ingest(archive, "--out", out, *options) == ExitCode.ALL_GOOD
    said = " ".join(capsys.readouterr().err.split())
    assert stat.S_IMODE((tmp_path / "frames.key").stat().st_mode) == 0o600
    assert "frames.key: keep it" in said
    assert "2 clips ingested, 0 set aside, 0 rejected" in said
    store = FrameStore(out)
    assert len(store) == 4
    assert store.take([0])[0].shape == (64, 64)
    assert store.rules["max_frames"] == 2
    assert ingest(archive, "--out", out, *options) == ExitCode.ALL_GOOD
    said = " ".join(capsys.readouterr().err.split())
    assert "2 of these done before" in said
    assert "made the secret key" not in said


def test_rejected_files_and_empty_archives_have_their_exit_codes(
    tmp_path: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (archive / "bad.dcm").write_bytes(b"")
    assert ingest(archive, "--out", tmp_path / "a", "--quiet") == ExitCode.SOME_FILES_FAILED
    assert not capsys.readouterr().err
    assert "is empty" in (tmp_path / "a" / "ledger.csv").read_text()
    assert "bad.dcm" not in (tmp_path / "a" / "ledger.csv").read_text()
    (tmp_path / "nothing").mkdir()
    assert ingest(tmp_path / "nothing", "--out", tmp_path / "b") == ExitCode.NOTHING_ANALYSED
    assert ingest(tmp_path / "absent", "--out", tmp_path / "c") == ExitCode.NOTHING_ANALYSED
    assert "does not exist" in (tmp_path / "c" / "ledger.csv").read_text()
    assert ingest(archive, "--out", tmp_path / "d", "--names", "path", "--quiet") == ExitCode.SOME_FILES_FAILED
    assert "bad.dcm" in (tmp_path / "d" / "ledger.csv").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--out", "s3://bucket/frames"), "needs --key"),
        (("--out", "o", "--ray-address", "h:1"), "--engine ray"),
        (("--out", "o", "--size", "8"), "size"),
        (("--out", "o", "--engine", "spark"), "engine"),
        ((), "--out"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path,
    archive: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ingest(archive, *options) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"archive"}


def test_a_store_of_other_rules_is_left_alone(
    tmp_path: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingest(archive, "--out", tmp_path / "a", "--quiet") == ExitCode.ALL_GOOD
    assert ingest(archive, "--out", tmp_path / "a", "--size", 64, "--quiet") == ExitCode.USAGE
    assert "size 256 instead of 64" in capsys.readouterr().err


def test_without_the_library_nothing_is_made(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "lance", None)
    assert ingest(archive, "--out", tmp_path / "frames") == ExitCode.USAGE
    error = capsys.readouterr().err
    assert "pip install 'echoapex[ingest]'" in error
    assert len(error.strip().splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"archive"}
