"""The whole content of a frame store as plain values, to compare stores with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lance


def frame_rows(store: Path | str) -> list[dict[str, Any]]:
    """Every frame in its order."""
    return list(lance.dataset(f"{store}/frames.lance").to_table().to_pylist())


def file_rows(store: Path | str) -> list[dict[str, Any]]:
    """Every record in its order, without the versions, which tell how often was committed."""
    rows = lance.dataset(f"{store}/files.lance").to_table().to_pylist()
    return [{name: value for name, value in row.items() if name != "version"} for row in rows]


def all_bytes(folder: Path) -> bytes:
    """The bytes and names of every file below a folder."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return b"\n".join(str(path.relative_to(folder)).encode() + b"\n" + path.read_bytes() for path in paths)
