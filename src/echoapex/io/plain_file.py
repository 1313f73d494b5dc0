"""What a file without a header of its own still tells: its digest and, by its pixels, whether it shows colour flow."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from echoapex.domain import ContentKind
from echoapex.io.clip_source import ReadError
from echoapex.io.content import Content, find_colour_box
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


def content_of_pixels(frames: Sequence[UInt8[np.ndarray, "height width *channels"]]) -> Content:
    """B-mode, or colour Doppler where some of the frames show coloured flow."""
    box = find_colour_box(frames)
    if box is None:
        return Content(ContentKind.B_MODE)
    return Content(ContentKind.COLOUR_DOPPLER, "coloured pixels of flow in the image", box)
