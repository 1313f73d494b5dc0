"""What a frame store holds: one table of frames, one table of the files that they came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from echoapex.data.lance_library import import_arrow

FRAMES_TABLE = "frames.lance"
FILES_TABLE = "files.lance"
HASH_BYTES = 32

FRAME_COLUMNS: dict[str, str] = {
    "jpeg": "the stored frame: grey JPEG, quality 95, square, black outside the sector",
    "clip": "keyed digest of the file",
    "study": "keyed digest of the study",
    "patient": "keyed digest of the patient",
    "split": "train or val, the same for all frames of a patient",
    "frame": "number of the frame in its clip, from 0",
    "time_s": "time since the first frame of the clip in seconds; null where the file does not say",
    "row_mm": "height of a stored pixel in mm; null where the clip is not calibrated",
    "column_mm": "width of a stored pixel in mm; null where the clip is not calibrated",
    "transform": "native pixels to stored pixels: 3 x 3 matrix on (x, y, 1), row by row",
    "native_height": "rows of the frame in its file",
    "native_width": "columns of the frame in its file",
    "vendor": "a word of a closed list; empty where unknown",
    "probe": "tee, ice, phased, curved or linear; empty where unknown",
    "content": "b_mode or colour_doppler",
    "dhash": "perceptual hash, 256 bits (see echoapex.data.ingest.near_duplicates)",
    "pixels": "the first 64 bits of a digest of the stored pixels before compression",
}
"""The columns of the frames table."""

FILE_COLUMNS: dict[str, str] = {
    "file": "keyed digest of the path",
    "stamp": "keyed digest of size and modification time",
    "name": "what the ledger calls the file",
    "outcome": "ingested, set_aside or rejected",
    "reason": "why it was set aside or rejected",
    "remedy": "what a person can do about it",
    "clip": "keyed digest of the content",
    "study": "keyed digest of the study",
    "patient": "keyed digest of the patient",
    "split": "train or val",
    "vendor": "a word of a closed list; empty where unknown",
    "probe": "tee, ice, phased, curved or linear; empty where unknown",
    "content": "what the clip shows",
    "frames_native": "frames in the file",
    "frames_sampled": "frames looked at",
    "frames_kept": "frames that were not near-duplicates of others of the clip",
    "row_mm": "height of a native pixel in mm; null where the clip is not calibrated",
    "column_mm": "width of a native pixel in mm; null where the clip is not calibrated",
    "native_height": "rows of a native frame",
    "native_width": "columns of a native frame",
    "flags": "decisions of the reader",
    "version": "version of the frames table that holds the frames of this file",
}
"""The columns of the files table, which is the manifest of the store file by file."""

_INTEGERS = ("frame", "native_height", "native_width", "frames_native", "frames_sampled", "frames_kept")
_FLOATS = ("time_s", "row_mm", "column_mm")


def frame_schema(metadata: Mapping[str, str] | None = None) -> Any:
    """The Arrow schema of the frames table."""
    return _schema(FRAME_COLUMNS, metadata)


def file_schema() -> Any:
    """The Arrow schema of the files table."""
    return _schema(FILE_COLUMNS, None)


def _schema(columns: Mapping[str, str], metadata: Mapping[str, str] | None) -> Any:
    arrow = import_arrow()
    special = {
        "jpeg": arrow.binary(),
        "dhash": arrow.binary(HASH_BYTES),
        "pixels": arrow.int64(),
        "version": arrow.int64(),
        "transform": arrow.list_(arrow.float64(), 9),
        "flags": arrow.list_(arrow.string()),
        **dict.fromkeys(_INTEGERS, arrow.int32()),
        **dict.fromkeys(_FLOATS, arrow.float64()),
    }
    nullable = {*_FLOATS}
    fields = [arrow.field(name, special.get(name, arrow.string()), nullable=name in nullable) for name in columns]
    return arrow.schema(fields, metadata=dict(metadata) if metadata else None)
