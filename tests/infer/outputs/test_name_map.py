"""The map of names: one secret file beside the results, made once, added to, never overwritten by a mistake."""

import json
import os
import stat
from pathlib import Path

import pytest

from echoapex.infer.outputs.files import NameMapError, name_map_path, read_or_create_name_map, write_name_map


def test_it_lies_beside_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert name_map_path(tmp_path / "out") == tmp_path / "out.names.json"
    monkeypatch.chdir(tmp_path)
    assert name_map_path(Path()) == tmp_path.with_name(f"{tmp_path.name}.names.json")


def test_the_key_stays_and_files_are_added(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "out.names.json"
    first = read_or_create_name_map(path)
    write_name_map(path, first, {"clip-1": "/a"})
    again = read_or_create_name_map(path)
    write_name_map(path, again, {"clip-2": "/b\udcff"})
    last = read_or_create_name_map(path)

    assert first.key == again.key == last.key
    assert len(bytes.fromhex(last.key)) == 32
    assert last.files == {"clip-1": "/a", "clip-2": "/b\\xff"}
    assert "secret" in json.loads(path.read_text())["notice"]
    assert first.names().name_file(("x",), "p") == last.names().name_file(("x",), "p")


def test_two_maps_have_two_keys(tmp_path: Path) -> None:
    assert read_or_create_name_map(tmp_path / "a").key != read_or_create_name_map(tmp_path / "b").key


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "a.names.json"
    write_name_map(path, read_or_create_name_map(path), {"a": "b"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["a.names.json"]


@pytest.mark.parametrize("content", [b"", b"{}\n[", b'{"key": "short"}', b'{"key": 5, "files": []}'])
def test_something_else_is_not_overwritten(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)

    with pytest.raises(NameMapError, match="no map of names"):
        read_or_create_name_map(path)

    assert path.read_bytes() == content


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NameMapError, match="--names"):
        read_or_create_name_map(tmp_path / "file" / "a.json")
