"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from echoapex.io.atomic_file import replace_when_complete, write_bytes_atomically


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
