"""Files appear whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from echoapex.io.temporary_files import remove_abandoned_partials, replace_when_complete, write_bytes_atomically


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.bin"
    with replace_when_complete(target) as partial:
        partial.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_keeps_what_was_there(tmp_path: Path, error: BaseException) -> None:
    target = write_bytes_atomically(tmp_path / "file.bin", b"before")
    with pytest.raises(type(error)), replace_when_complete(target) as partial:
        partial.write_bytes(b"half")
        raise error
    assert target.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.name != "posix", reason="whether a process lives is asked on POSIX systems only")
def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from echoapex.io.temporary_files import replace_when_complete\n"
        "with replace_when_complete(Path(sys.argv[1]) / 'clip.mp4') as partial:\n"
        "    partial.write_bytes(b'half'); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    own = tmp_path / f".b.{os.getpid()}.partial"
    own.touch()
    others = {".other", ".a.partial", ".a.b.partial", f".a.{os.getppid()}.partial", "a.1.partial"}
    for name in others:
        (tmp_path / name).touch()

    assert set(remove_abandoned_partials(tmp_path)) == {left, own}

    assert {path.name for path in tmp_path.iterdir()} == others
