"""One process at a time in a data folder."""

from __future__ import annotations

import fcntl
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from echoapex.config import ConfigError


def lock_folder(folder: Path, owner: str, setting: str, advice: str, rooms: Sequence[str] = ()) -> IO[str]:
    """Make a folder that only this user can read, and keep a second process out of it while the lock is open.

    Args:
        folder: where the process keeps its data; the lock is the file ``OWNER.lock`` in it.
        owner: what runs there, for example ``node``.
        setting: the setting that names the folder, for the message.
        advice: what is wrong and what to do if another process holds the lock.
        rooms: names of folders to make inside.

    Raises:
        ConfigError: the folder cannot be made, or another process uses it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for room in rooms:
            (folder / room).mkdir(exist_ok=True, mode=0o700)
        lock = (folder / f"{owner}.lock").open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{folder.name}: cannot be used as data folder ({error.strerror}); check {setting}"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ConfigError(f"{folder.name}: {advice}") from error
    return lock
