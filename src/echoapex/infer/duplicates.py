"""One loop twice in a study: an exact or rescaled copy, told by a perceptual hash of its frames, counts once.

Scanners store a loop again when it is sent twice, and people export it at another size. The hash is taken of the
prepared frames (grey, the sector alone), so that burned-in text and the size of the screen play no part.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from echoapex.infer.records import ClipRecord

COPY_DISTANCE = 0.024
"""Share of bits in which copies differ at most.

Of 121 real loops, 484 copies (half, three quarters, once and 1.3 times the size, JPEG of quality 30 to 85) differed in
up to 0.020; of 4,824 pairs of different loops, many of them of one patient and view, the nearest in 0.031.
"""

_SIDE = 24
_LEAST_STEP = 3.0  # grey levels: a smaller step is noise or darkness
_MOST_FRAMES = 64
_COMPARED = 8
_LEAST_SET = 0.02  # share of bits that are set: a picture with fewer shows nothing to know it by


def sign_loop(pixels: UInt8[np.ndarray, "frames size size"]) -> tuple[str, ...]:
    """The difference hash of each of the first 64 frames, in hexadecimal; empty where frames show nothing.

    A bit says whether a cell of a grid of 24 x 24 is brighter than the cell to the left of it.
    """
    bits = np.stack([_steps(frame) for frame in pixels[:_MOST_FRAMES]])
    if bits.mean() < _LEAST_SET:
        return ()
    return tuple(np.packbits(frame).tobytes().hex() for frame in bits)


def are_copies(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether the shorter of two loops is, frame by frame, a stretch of the longer one; a still is none of a loop."""
    short, long = sorted((first, second), key=len)
    if not short or (len(short) == 1) != (len(long) == 1):
        return False
    chosen = np.unique(np.linspace(0, len(short) - 1, _COMPARED).round().astype(int))
    wanted, known = _bits([short[index] for index in chosen]), _bits(long)
    starts = range(len(long) - len(short) + 1)
    return any(float((wanted != known[chosen + start]).mean()) <= COPY_DISTANCE for start in starts)


def leave_out_copies(records: Sequence[ClipRecord]) -> list[ClipRecord]:
    """The records with every copy set aside and named after its original; the order stays.

    Only clips of one study are compared. The original is the calibrated one, else the larger, the longer, the first.
    """
    copies: dict[int, int] = {}
    ranked = sorted(range(len(records)), key=lambda index: _rank(records[index]))
    for place, original in enumerate(ranked):
        if original in copies or records[original].report.set_aside:
            continue
        for other in ranked[place + 1 :]:
            if other not in copies and _is_copy(records[original], records[other]):
                copies[other] = original
    return [
        record if index not in copies else _as_copy(record, records[copies[index]])
        for index, record in enumerate(records)
    ]


def _rank(record: ClipRecord) -> tuple[bool, int, int]:
    report = record.report
    return report.row_mm is None, -report.size[0] * report.size[1], -report.frames


def _is_copy(original: ClipRecord, other: ClipRecord) -> bool:
    """Of one study, or of a file that names none, and of the same pictures."""
    if other.report.set_aside or (original.study and other.study and original.study != other.study):
        return False
    return are_copies(original.signature, other.signature)


def _as_copy(record: ClipRecord, original: ClipRecord) -> ClipRecord:
    said = f"copy of clip {original.report.clip_id}"
    report = record.report.model_copy(update={"set_aside": said, "measurements": ()})
    return record.model_copy(update={"report": report})


def _steps(frame: UInt8[np.ndarray, "size size"]) -> Bool[np.ndarray, "bits"]:
    small = cv2.resize(frame.astype(np.float32), (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small[:, 1:] > small[:, :-1] + _LEAST_STEP).ravel()


def _bits(hashes: Sequence[str]) -> Bool[np.ndarray, "frames bits"]:
    return np.stack([np.unpackbits(np.frombuffer(bytes.fromhex(each), np.uint8)) for each in hashes]).astype(bool)
