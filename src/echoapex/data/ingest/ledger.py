"""``ledger.csv``: one line for every file that is not in the store: what happened to it, why, and what to do.

The file names themselves are in a second table, beside the secret key, so that only the holder of the key sees them.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from echoapex.data.ingest.unit_work import INGESTED
from echoapex.data.stores.place import StorePlace

LEDGER_FILE = "ledger.csv"
COLUMNS = ("file", "outcome", "reason", "remedy")
PATH_COLUMNS = ("file", "path")


def write_ledger(place: StorePlace, records: Iterable[Mapping[str, Any]]) -> None:
    """Write the ledger of a store; the header alone where every file was ingested."""
    rows = [record for record in records if record["outcome"] != INGESTED]
    lines = [[" ".join(str(row["name" if column == "file" else column]).split()) for column in COLUMNS] for row in rows]
    place.write(LEDGER_FILE, _table(COLUMNS, lines))


def path_table_of(key: Path) -> Path:
    """Where the paths of the files in the ledger are written: beside the key, ``NAME.files.csv``."""
    return key.with_name(key.name + ".files.csv")


def write_paths(key: Path, paths: Mapping[str, str]) -> Path | None:
    """Add the paths of files, by the names that the ledger calls them, to the table beside the key.

    The table can be read by its owner only: paths name patients.

    Returns:
        The table; None where there is nothing to write.
    """
    if not paths:
        return None
    table = path_table_of(key)
    known = _read_paths(table)
    known.update(paths)
    partial = table.with_name(f".{table.name}.partial")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(_table(PATH_COLUMNS, [list(row) for row in sorted(known.items())]))
    partial.replace(table)
    return table


def _read_paths(table: Path) -> dict[str, str]:
    if not table.is_file():
        return {}
    with table.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        return {row[0]: row[1] for row in list(csv.reader(stream))[1:] if len(row) == len(PATH_COLUMNS)}


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")
