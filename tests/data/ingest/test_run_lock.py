"""One ingest into a store at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from echoapex.data.ingest.ingest import locked
from echoapex.data.stores.place import StoreError, StorePlace


def test_a_store_is_held_by_one_and_then_free_again(tmp_path: Path) -> None:
    place = StorePlace(tmp_path / "store")
    with locked(place):
        with pytest.raises(StoreError, match="another ingest"), locked(place):
            pass
        with locked(StorePlace(tmp_path / "other")):
            pass
    with locked(place):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="choose another --out"), locked(StorePlace(tmp_path / "file" / "store")):
        pass
