"""Extracted files never stay behind: deleted with their object, at the end, or by the next run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from echoapex.io.temporary_files import TemporaryFolder, remove_abandoned

POSIX = pytest.mark.skipif(os.name != "posix", reason="folders are locked on POSIX systems only")
_HOLD = """
import sys, time
from pathlib import Path
from echoapex.io.temporary_files import TemporaryFolder
workspace = TemporaryFolder(Path(sys.argv[1]))
(workspace.folder / "original.dcm").write_bytes(b"patient")
print("ready", flush=True)
time.sleep(600)
"""


def _originals(place: Path) -> list[Path]:
    return list(place.rglob("original.dcm"))


def _made_older(place: Path) -> None:
    for folder in place.iterdir():
        os.utime(folder, (time.time() - 3600,) * 2)


def test_a_folder_is_private_and_deleted_with_its_object(tmp_path: Path) -> None:
    first, second = TemporaryFolder(tmp_path), TemporaryFolder(tmp_path)
    (first.folder / "x").write_bytes(b"x")
    assert first.folder != second.folder
    if os.name == "posix":
        assert first.folder.stat().st_mode & 0o077 == 0
    first.delete()
    assert second.folder.is_dir()
    del second
    assert list(tmp_path.iterdir()) == []
    assert TemporaryFolder(tmp_path).folder.parent.parent == tmp_path


@POSIX
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        _made_older(tmp_path)
        assert remove_abandoned(tmp_path) == []  # it is still at work
        assert _originals(tmp_path)
        process.send_signal(number)
    assert _originals(tmp_path)  # a bare process does not tidy up; the command line does
    _made_older(tmp_path)

    own = TemporaryFolder(tmp_path)

    assert _originals(tmp_path) == []
    assert own.folder.is_dir()


@POSIX
def test_a_folder_of_somebody_else_or_just_made_stays(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "echoapex-new").mkdir()
    _made_older(tmp_path / "echoapex-new")
    assert remove_abandoned(tmp_path) == []
