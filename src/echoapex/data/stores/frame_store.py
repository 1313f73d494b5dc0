"""A frame store: millions of prepared frames on disk or in an object store, each accessible by its row number.

The store has two Lance tables, one of frames and one of the files from which they came. :mod:`echoapex.data.ingest`
fills them. An opened store is a snapshot: open it again to see what was ingested later.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from echoapex.data.stores.place import StoreError, StorePlace, import_arrow, import_lance
from echoapex.io.still_image import decode_frame

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
    "dhash": "perceptual hash, 256 bits (see echoapex.data.ingest.unit_work)",
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
MANIFEST_FILE = "manifest.json"
Split = Literal["train", "val"]


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


class FrameStore:
    """The frames of a store, or of one of its splits, as one numbered list with random access by ``take``.

    The table is opened when it is first used, in each process by itself, so that a store can be handed to workers that
    were started by forkserver or spawn. A forked process cannot use it.

    Args:
        location: folder or URL that ``echoapex ingest`` wrote.
        split: only the frames of ``train`` or ``val`` patients; all by default.
    """

    def __init__(self, location: Path | str, split: Split | None = None) -> None:
        self._place = StorePlace(location)
        self._split = split
        self._version: int | None = None
        self._forget()

    def _forget(self) -> None:
        self._table: Any = None
        self._rows: np.ndarray | None = None
        self._process = 0

    def __getstate__(self) -> dict[str, Any]:
        # another process opens its own table, at the version that this one sees
        self._open()
        return {"_place": self._place, "_split": self._split, "_version": self._version}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __len__(self) -> int:
        self._open()
        assert self._rows is not None
        return len(self._rows)

    @property
    def size(self) -> int:
        """Side of a frame in pixels."""
        return int(self.rules["size"])

    @property
    def rules(self) -> dict[str, Any]:
        """The rules by which the store was made (:class:`echoapex.data.ingest.plan.IngestRules`)."""
        rules: dict[str, Any] = json.loads(self._open().schema.metadata[b"rules"])
        return rules

    @property
    def manifest(self) -> dict[str, Any]:
        """The content of ``manifest.json`` from the last ingest; empty if none has finished yet."""
        content = self._place.read(MANIFEST_FILE)
        return {} if content is None else dict(json.loads(content))

    def take(self, rows: Sequence[int]) -> list[UInt8[np.ndarray, "size size"]]:
        """Frames by number, in the given order; one call for a batch is much faster than many calls.

        Raises:
            StoreError: there is no such frame, the store is damaged, or the process was forked.
        """
        table = self._open()
        wanted = self._table_rows(rows)
        with _readable(self._place):
            taken = table.take(wanted, columns=["jpeg"])
        return [decode_frame(data) for data in taken.column("jpeg").to_pylist()]

    def columns(self, *names: str, rows: Sequence[int] | None = None) -> dict[str, np.ndarray]:
        """Columns of the frames table as arrays, one entry per frame; unknown numbers are NaN.

        Args:
            names: of :data:`echoapex.data.stores.frame_store.FRAME_COLUMNS`.
            rows: only these frames; all of the store (or split) by default.

        Raises:
            StoreError: there is no such column or frame, or the store is damaged.
        """
        _require_known(names)
        table = self._open()
        wanted = self._table_rows(range(len(self)) if rows is None else rows)
        with _readable(self._place):
            if rows is None and self._split is None:
                found = table.to_table(columns=list(names))
            else:
                found = table.take(wanted, columns=list(names))
        return {name: _as_array(found.column(name)) for name in names}

    def scan(self, *names: str, run: int = 8192) -> Iterator[dict[str, np.ndarray]]:
        """Columns as in :meth:`columns`, in runs of frames from first to last, for large stores.

        Args:
            names: of :data:`echoapex.data.stores.frame_store.FRAME_COLUMNS`.
            run: about so many frames at a time.

        Raises:
            StoreError: there is no such column, or the store is damaged.
        """
        _require_known(names)
        condition = None if self._split is None else f"split = '{self._split}'"
        scanner = self._open().scanner(columns=list(names), filter=condition, batch_size=run, scan_in_order=True)
        arrow = import_arrow()
        batches = iter(scanner.to_batches())
        while True:
            with _readable(self._place):
                batch = next(batches, None)
            if batch is None:
                return
            found = arrow.Table.from_batches([batch])
            yield {name: _as_array(found.column(name)) for name in names}

    def files(self) -> dict[str, np.ndarray]:
        """The files that were ingested, set aside or rejected: every column of ``FILE_COLUMNS`` as an array.

        Raises:
            StoreError: the store cannot be opened or is damaged.
        """
        table = _opened(self._place, FILES_TABLE, None)
        with _readable(self._place):
            found = table.to_table(columns=list(FILE_COLUMNS))
        return {name: _as_array(found.column(name)) for name in FILE_COLUMNS}

    def _table_rows(self, rows: Sequence[int]) -> list[int]:
        assert self._rows is not None
        numbers = np.asarray(rows, dtype=np.int64)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= len(self._rows)):
            raise StoreError(
                f"the store has {len(self._rows)} frames; there is no frame {numbers.min()} or {numbers.max()}"
            )
        return [int(row) for row in self._rows[numbers]]

    def _open(self) -> Any:
        if self._table is None:
            self._table = _opened(self._place, FRAMES_TABLE, self._version)
            self._version = int(self._table.version)
            self._process = os.getpid()
            self._rows = self._rows_of_split()
        if self._process != os.getpid():
            raise StoreError("a frame store was used in a forked process; start workers by forkserver or spawn")
        return self._table

    def _rows_of_split(self) -> np.ndarray:
        if self._split is None:
            return np.arange(self._table.count_rows())
        with _readable(self._place):
            split = self._table.to_table(columns=["split"]).column("split")
        return np.flatnonzero(import_arrow("pyarrow.compute").equal(split, self._split).to_numpy())


def _require_known(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in FRAME_COLUMNS]
    if unknown:
        raise StoreError(f"{', '.join(unknown)}: no column of a frame store; known: {', '.join(FRAME_COLUMNS)}")


def _opened(place: StorePlace, name: str, version: int | None) -> Any:
    lance = import_lance()
    try:
        return lance.dataset(place.uri(name), version=version)
    except (ValueError, OSError) as error:
        raise StoreError(f"{place}: holds no frame store; make one with echoapex ingest --out") from error


@contextmanager
def _readable(place: StorePlace) -> Iterator[None]:
    """Turn errors of Arrow and Lance into one clear line."""
    try:
        yield
    except (ValueError, OSError) as error:  # Arrow's and Lance's errors are of these kinds
        raise StoreError(
            f"{place}: cannot be read to its end; see that it can be reached, or ingest the archive into another store"
        ) from error


def _as_array(column: Any) -> np.ndarray:
    """A column as an array; fixed-size lists become rows."""
    width = getattr(column.type, "list_size", 0)
    if width:
        return np.asarray(column.combine_chunks().flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)
    return np.asarray(column.to_numpy())
