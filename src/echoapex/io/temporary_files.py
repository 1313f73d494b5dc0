"""Private temporary folders for extracted files: deleted with their object, and by the next run where one was killed.

All folders of a process lie in one folder that it holds locked while it lives. Extracted files are originals, patient
data and all, so what a killed process left behind is removed as soon as another one extracts anything.

Files that appear whole or not at all: written beside their place under another name, then renamed.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import stat
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "echoapex-"
_SETTLED_S = 60.0
"""A folder is locked just after it is made; a younger one is never taken for abandoned."""

_LOCK = threading.RLock()  # a finalizer may run at any line, also within another call
_HELD: dict[tuple[str, int], tuple[Path, int]] = {}
"""By place and process: the folder of this process there, and the handle that locks it."""


class TemporaryFolder:
    """A private temporary folder that is deleted with this object, and at the latest when the program ends.

    Args:
        parent: where the folder is made; the system's place for temporary files without it.
    """

    def __init__(self, parent: Path | None = None) -> None:
        place = Path(tempfile.gettempdir()) if parent is None else parent.absolute()
        place.mkdir(parents=True, exist_ok=True)
        with _LOCK:
            self.folder = Path(tempfile.mkdtemp(dir=_own_folder(place)))
        self._finalizer = weakref.finalize(self, _delete, self.folder, place, os.getpid())

    def delete(self) -> None:
        """Delete the folder now."""
        self._finalizer()


def remove_abandoned(place: Path) -> list[Path]:
    """Delete the folders of processes that ended without doing so; returns them. Nothing on systems without locks."""
    removed = []
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError), _opened(folder) as handle:
            about = os.fstat(handle)
            is_ours = about.st_uid == os.getuid() and stat.S_ISDIR(about.st_mode)
            if is_ours and time.time() - about.st_mtime > _SETTLED_S and _try_lock(handle):
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder)
    return removed


def _own_folder(place: Path) -> Path:
    known = _HELD.get((str(place), os.getpid()))
    if known is not None and known[0].is_dir():
        return known[0]
    if os.name != "posix":
        return place
    remove_abandoned(place)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    handle = os.open(folder, os.O_RDONLY)
    _try_lock(handle)
    _HELD[str(place), os.getpid()] = (folder, handle)
    return folder


def _delete(folder: Path, place: Path, process: int) -> None:
    if process != os.getpid():  # a forked child leaves its parent's folders alone
        return
    shutil.rmtree(folder, ignore_errors=True)
    with _LOCK:
        known = _HELD.get((str(place), process))
        if known is None or folder.parent != known[0]:
            return
        with suppress(OSError):  # others are still in it
            known[0].rmdir()
            os.close(known[1])
            del _HELD[str(place), process]


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    try:
        yield handle
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    """Lock a folder unless another process holds it; the system lets go when the process ends, however it ends."""
    fcntl = importlib.import_module("fcntl")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


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
