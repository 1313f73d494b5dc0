"""The ledger in the store, and the paths beside the key."""

from __future__ import annotations

import csv
import stat
from pathlib import Path

from echoapex.data.ingest.ledger import path_table_of, write_ledger, write_paths
from echoapex.data.stores.place import StorePlace


def record(name: str, outcome: str, reason: str = "") -> dict[str, str]:
    return {"name": name, "outcome": outcome, "reason": reason, "remedy": "try again"}


def test_only_what_is_missing_from_the_store_is_listed(tmp_path: Path) -> None:
    records = [record("a", "ingested"), record("b", "rejected", "is,\nbroken"), record("c", "set_aside", "M-mode")]
    write_ledger(StorePlace(tmp_path / "store"), records)
    with (tmp_path / "store" / "ledger.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows == [
        ["file", "outcome", "reason", "remedy"],
        ["b", "rejected", "is, broken", "try again"],
        ["c", "set_aside", "M-mode", "try again"],
    ]


def test_paths_are_added_beside_the_key_for_its_owner_only(tmp_path: Path) -> None:
    key = tmp_path / "a.key"
    assert write_paths(key, {}) is None
    assert not path_table_of(key).exists()
    write_paths(key, {"file-1": "/p/Jane Doe, 1.avi"})
    table = write_paths(key, {"file-2": "/q"})
    assert table == tmp_path / "a.key.files.csv"
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    with table.open(newline="") as stream:
        assert list(csv.reader(stream)) == [["file", "path"], ["file-1", "/p/Jane Doe, 1.avi"], ["file-2", "/q"]]
