"""Files that appear whole or not at all: written beside their place under another name, then renamed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PARTIAL = re.compile(r"\..+\.[0-9]+\.partial")


@contextmanager
def replace_when_complete(path: Path) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``; on leaving without an error it takes the place of ``path``.

    The folder is made when it is missing. After an error the temporary file is removed and ``path`` is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def remove_abandoned_partials(folder: Path) -> list[Path]:
    """Remove the temporary files of processes that were killed while they wrote into ``folder``; returns them.

    For the start of a run, when this process writes nothing there: one with its own number is an earlier one's, as in
    containers, where numbers begin at 1 each time.
    """
    found = [path for path in folder.glob(".*.partial") if _PARTIAL.fullmatch(path.name)]
    numbers = {path: int(path.name.split(".")[-2]) for path in found}
    removed = [path for path, number in numbers.items() if number == os.getpid() or not _is_alive(number)]
    for path in removed:
        path.unlink(missing_ok=True)
    return removed


def _is_alive(process: int) -> bool:
    """Whether a process of this number runs here; where that cannot be told, it may."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it runs, but is somebody else's
        return True
    return True


def write_bytes_atomically(path: Path, content: bytes) -> Path:
    """Write ``content`` to ``path``, whole or not at all."""
    with replace_when_complete(path) as partial:
        partial.write_bytes(content)
    return path
