"""Lance, imported when it is first needed: frame stores are an optional extra.

Lance keeps threads of its own and does not survive a fork; start worker processes by forkserver or spawn.
"""

from __future__ import annotations

import importlib
from typing import Any

STORAGE_VERSION = "2.1"
"""The version of Lance's file format that stores are written in; readers of later versions read it too."""


class StoreError(ValueError):
    """A frame store that cannot be opened, read or written; the message says what to do."""


def import_lance() -> Any:
    """The module ``lance``.

    Raises:
        StoreError: it is not installed.
    """
    try:
        return importlib.import_module("lance")
    except ImportError as error:
        raise StoreError(
            "frame stores need the library Lance; install it with: pip install 'echoapex[ingest]'"
        ) from error


def import_arrow(name: str = "pyarrow") -> Any:
    """The module ``pyarrow`` or one inside it; it comes with Lance.

    Raises:
        StoreError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise StoreError(
            "frame stores need the library Lance; install it with: pip install 'echoapex[ingest]'"
        ) from error
