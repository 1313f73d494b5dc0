"""Messages between a benchmark and a peer in another environment: a length (8 bytes, little endian) and an npz file."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

import numpy as np


def read_message(stream: BinaryIO) -> dict[str, np.ndarray] | None:
    """The next message; None at the end."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    with np.load(io.BytesIO(stream.read(struct.unpack("<Q", head)[0])), allow_pickle=False) as arrays:
        return dict(arrays)


def write_message(stream: BinaryIO, **arrays: np.ndarray) -> None:
    """Send arrays."""
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    stream.write(struct.pack("<Q", packed.tell()) + packed.getvalue())
    stream.flush()
