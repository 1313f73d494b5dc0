"""Files that appear whole or not at all: written beside their place under another name, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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


def write_bytes_atomically(path: Path, content: bytes) -> Path:
    """Write ``content`` to ``path``, whole or not at all."""
    with replace_when_complete(path) as partial:
        partial.write_bytes(content)
    return path
