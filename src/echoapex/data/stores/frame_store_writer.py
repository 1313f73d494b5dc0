"""Writes a frame store such that an interruption at any moment neither loses nor duplicates a frame.

Workers write fragments, which are not yet visible. One process commits them in two steps: first the records of the
files, each with the version number that the frames table will have, then the frames, which creates that version. If the
version was never created, its records are removed when the store is opened again, and the files are ingested anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np

from echoapex.data.stores.frame_store import FILE_COLUMNS, FILES_TABLE, FRAMES_TABLE, file_schema, frame_schema
from echoapex.data.stores.place import STORAGE_VERSION, StoreError, StorePlace, import_arrow, import_lance

ROWS_PER_FRAGMENT = 65_536
_MOST_DELETED_AT_ONCE = 20_000
FORMAT_VERSION = "1"


@dataclass(frozen=True)
class StoreIdentity:
    """What all frames of one store share.

    Attributes:
        rules: how frames were made, as plain values.
        key_check: a digest that tells the key apart from others without revealing it.
    """

    rules: Mapping[str, Any]
    key_check: str


def write_fragments(place: StorePlace, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Write frames that are not part of the store until they are committed; for workers.

    Returns:
        What :meth:`StoreWriter.commit` needs of them.

    Raises:
        StoreError: the place cannot be written to: full, forbidden or out of reach.
    """
    if not rows:
        return ()
    lance, arrow = import_lance(), import_arrow()
    schema = frame_schema()
    table = arrow.Table.from_pylist([dict(row) for row in rows], schema=schema)
    try:
        fragments = lance.fragment.write_fragments(
            table, place.uri(FRAMES_TABLE), schema=schema, mode="append", data_storage_version=STORAGE_VERSION
        )
    except OSError as error:
        raise cannot_write(error) from error
    return tuple(json.dumps(fragment.to_json()) for fragment in fragments)


def cannot_write(error: OSError) -> StoreError:
    """The error for a place that cannot be written to."""
    text = f"{error.strerror or ''} {error}".lower()
    full = "no space" in text or "quota" in text or "too large" in text
    reason = "there is no space left" if full else (error.strerror or "the storage refused")
    return StoreError(
        f"the store cannot be written: {reason}; make room or check the place, and run the same command again: "
        "what was committed is kept"
    )


class StoreWriter:
    """The one process that commits to a store; opened on an empty place it makes one.

    Raises:
        StoreError: the store was made by other rules or with another key, or the place cannot be written to.
    """

    def __init__(self, place: StorePlace, identity: StoreIdentity) -> None:
        self._place = place
        self._lance = import_lance()
        try:
            self._files = self._open_or_create(FILES_TABLE, file_schema())
            self._frames = self._open_or_create(FRAMES_TABLE, frame_schema(_metadata(identity)))
        except OSError as error:
            raise cannot_write(error) from error
        _require_same(self._frames.schema.metadata or {}, identity)
        self._forget_uncommitted()

    def records(self, *columns: str) -> list[dict[str, Any]]:
        """The newest record of every file, in the order of their commits; only some columns where they are named."""
        records: list[dict[str, Any]] = self._newest_records(columns or tuple(FILE_COLUMNS)).to_pylist()
        return records

    def _newest_records(self, columns: Sequence[str]) -> Any:
        table = self._files.to_table(columns=list(dict.fromkeys(("file", *columns))))
        last = {file: number for number, file in enumerate(table.column("file").to_pylist())}
        return table.take(import_arrow().array(sorted(last.values()), "int64"))

    def frame_count(self) -> int:
        """Frames in the store."""
        return int(self._frames.count_rows())

    def commit(self, fragments: Iterable[str], records: Sequence[Mapping[str, Any]]) -> None:
        """Make fragments and the records of their files part of the store.

        Raises:
            StoreError: the place cannot be written to, or another process writes to the store.
        """
        parsed = [self._lance.fragment.FragmentMetadata.from_json(text) for text in fragments]
        version = int(self._frames.version) + bool(parsed)
        arrow = import_arrow()
        rows = arrow.Table.from_pylist([{**record, "version": version} for record in records], schema=file_schema())
        try:
            if records:
                self._files = self._lance.write_dataset(
                    rows, self._place.uri(FILES_TABLE), mode="append", data_storage_version=STORAGE_VERSION
                )
            if parsed:
                self._frames = self._lance.LanceDataset.commit(
                    self._place.uri(FRAMES_TABLE),
                    self._lance.LanceOperation.Append(parsed),
                    read_version=self._frames.version,
                )
        except OSError as error:
            raise cannot_write(error) from error
        if int(self._frames.version) != version:
            raise StoreError("another process wrote to the store at the same time; run one ingest into a store at once")

    def finish(self) -> None:
        """Remove frames that are exactly equal to an earlier one, join small fragments, and tidy up.

        May be cut off and run again at any point.

        Raises:
            StoreError: the place cannot be written to.
        """
        try:
            self._drop_equal_frames()
            self._frames.optimize.compact_files(
                target_rows_per_fragment=ROWS_PER_FRAGMENT, materialize_deletions_threshold=0.0
            )
            self._keep_newest_records()
            for name in (FRAMES_TABLE, FILES_TABLE):
                table = self._lance.dataset(self._place.uri(name))
                # fragments that an interrupted run never committed go as well: nobody else is writing
                table.cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)
            self._frames = self._lance.dataset(self._place.uri(FRAMES_TABLE))
        except OSError as error:
            raise cannot_write(error) from error

    def _open_or_create(self, name: str, schema: Any) -> Any:
        uri = self._place.uri(name)
        try:
            return self._lance.dataset(uri)
        except (ValueError, FileNotFoundError):
            empty = schema.empty_table()
            return self._lance.write_dataset(empty, uri, schema=schema, data_storage_version=STORAGE_VERSION)

    def _forget_uncommitted(self) -> None:
        condition = f"version > {int(self._frames.version)}"
        if self._files.count_rows(filter=condition):
            self._files.delete(condition)

    def _drop_equal_frames(self) -> None:
        table = self._frames.to_table(columns=["pixels"], with_row_address=True)
        pixels, addresses = table.column("pixels").to_numpy(), table.column("_rowaddr").to_numpy()
        order = np.argsort(pixels, kind="stable")
        is_equal = np.zeros(len(pixels), bool)
        is_equal[1:] = pixels[order][1:] == pixels[order][:-1]
        doubled = addresses[order[is_equal]]
        for start in range(0, len(doubled), _MOST_DELETED_AT_ONCE):
            chosen = ", ".join(map(str, doubled[start : start + _MOST_DELETED_AT_ONCE]))
            self._frames.delete(f"_rowaddr IN ({chosen})")

    def _keep_newest_records(self) -> None:
        """One record a file, sorted, so that the table does not depend on the order in which workers finished."""
        table = self._newest_records(tuple(FILE_COLUMNS)).sort_by("file").cast(file_schema())
        if table.column("file").equals(self._files.to_table(columns=["file"]).column("file")):
            return
        self._files = self._lance.write_dataset(
            table, self._place.uri(FILES_TABLE), mode="overwrite", data_storage_version=STORAGE_VERSION
        )


def _metadata(identity: StoreIdentity) -> dict[str, str]:
    return {
        "format": FORMAT_VERSION,
        "rules": json.dumps(dict(identity.rules), sort_keys=True),
        "key_check": identity.key_check,
    }


def _require_same(metadata: Mapping[bytes, bytes], identity: StoreIdentity) -> None:
    """A store holds frames of one format, one set of rules and one key.

    Raises:
        StoreError: it was made otherwise.
    """
    found = {name.decode(): value.decode() for name, value in metadata.items()}
    if found.get("format") != FORMAT_VERSION:
        raise StoreError("the store is of another format version; ingest into another --out")
    rules = json.loads(found["rules"])
    differing = [name for name in sorted({*rules, *identity.rules}) if rules.get(name) != identity.rules.get(name)]
    if differing:
        said = ", ".join(f"{name} {rules.get(name)} instead of {identity.rules.get(name)}" for name in differing)
        raise StoreError(f"the store was made with {said}; use the same options, or another --out")
    if found["key_check"] != identity.key_check:
        raise StoreError("the store was made with another key, so that its digests would not match; give that --key")
