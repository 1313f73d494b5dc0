"""Temporary folders that never outlive their use, and files that are written completely or not at all.

All temporary folders of a process are inside one folder, which it keeps locked while it runs. Extracted files are
originals with patient data. So if a process was killed, the next process that extracts anything deletes its folders.

A file is written under a temporary name in its final folder, then renamed.
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
"""A folder is locked shortly after it is made; a folder younger than this is never considered abandoned."""

_LOCK = threading.RLock()  # a finalizer may run at any time, also during another call
_HELD: dict[tuple[str, int], tuple[Path, int]] = {}
"""Place and process: the folder of this process there, and the handle that locks it."""

_PARTIAL = re.compile(r"\..+\.[0-9]+\.partial")


class TemporaryFolder:
    """A private temporary folder, deleted with this object or at the latest when the program ends.

    Args:
        parent: where the folder is made; by default the system's folder for temporary files.
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
    """Delete the folders that killed processes left behind, and return them; does nothing on systems without locks."""
    removed = []
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError), _opened(folder) as handle:
            about = os.fstat(handle)
            is_ours = about.st_uid == os.getuid() and stat.S_ISDIR(about.st_mode)
            if is_ours and time.time() - about.st_mtime > _SETTLED_S and _try_lock(handle):
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder)
    return removed


@contextmanager
def replace_when_complete(path: Path) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``; when the block ends without error, it replaces ``path``.

    The folder is made if it is missing. After an error the temporary file is removed and ``path`` is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes_atomically(path: Path, content: bytes) -> Path:
    """Write ``content`` to ``path``, completely or not at all."""
    with replace_when_complete(path) as partial:
        partial.write_bytes(content)
    return path


def remove_abandoned_partials(folder: Path) -> list[Path]:
    """Remove the temporary files of processes that were killed while writing into ``folder``, and return them.

    Call this at the start of a run, before this process writes there. A file with this process's own ID then belongs to
    an earlier process: in containers, process IDs start at 1 each time.
    """
    found = [path for path in folder.glob(".*.partial") if _PARTIAL.fullmatch(path.name)]
    numbers = {path: int(path.name.split(".")[-2]) for path in found}
    removed = [path for path, number in numbers.items() if number == os.getpid() or not _is_alive(number)]
    for path in removed:
        path.unlink(missing_ok=True)
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


def _try_lock(handle: int) -> bool:
    """Lock a folder unless another process holds it; the system releases the lock when the process ends."""
    fcntl = importlib.import_module("fcntl")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _delete(folder: Path, place: Path, process: int) -> None:
    if process != os.getpid():  # a forked child must not delete its parent's folders
        return
    shutil.rmtree(folder, ignore_errors=True)
    with _LOCK:
        known = _HELD.get((str(place), process))
        if known is None or folder.parent != known[0]:
            return
        with suppress(OSError):  # it still contains other folders
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


def _is_alive(process: int) -> bool:
    """Whether a process with this ID runs here; True if this cannot be determined."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it runs, but belongs to another user
        return True
    return True
