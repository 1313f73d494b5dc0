"""What a file without a header of its own still tells: its digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

from echoapex.io.clip_source import ReadError
from echoapex.io.dicom_values import clean_errors

CLIP_ID_DIGITS = 16
"""Hexadecimal digits of a file's digest that name its clip until its reader's caller gives it a better name."""


def file_digest(path: Path, display_name: str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        ReadError: the file cannot be read, or is empty.
    """
    with clean_errors(display_name, "cannot be read"), path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if stream.tell() == 0:
            raise ReadError(display_name, "is empty", "copy or export the file again")
    return digest
