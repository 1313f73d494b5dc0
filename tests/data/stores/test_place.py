"""Small files of a store, in a folder and behind a URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from echoapex.data.stores.place import StoreError, StorePlace


@pytest.mark.parametrize("as_url", [False, True])
def test_files_are_written_over_and_read(tmp_path: Path, as_url: bool) -> None:
    folder = tmp_path / "deep" / "store"
    place = StorePlace(f"file://{folder}/" if as_url else folder)
    assert place.read("a.json") is None
    place.write("a.json", b"one")
    place.write("a.json", b"two")
    assert place.read("a.json") == b"two"
    assert (folder / "a.json").read_bytes() == b"two"
    assert place.uri("t.lance") == (f"file://{folder}/t.lance" if as_url else str(folder / "t.lance"))
    assert (place.folder is None) == as_url


def test_a_url_of_no_known_kind_is_an_error_without_its_secrets() -> None:
    with pytest.raises(StoreError, match="nonsense URL") as caught:
        StorePlace("nonsense://user:secret@host/x").read("a")
    assert "secret" not in str(caught.value)
