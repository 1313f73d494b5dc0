"""Files of an object store: fetched and sent whole, sent again only when they changed, and never outside the folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from s3_server import S3ServerForTests

from echoapex.io.object_store import ObjectFolder, ObjectStoreError, parse_store_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://bucket/study", "s3://bucket/study"),
        ("s3:/bucket/study", "s3://bucket/study"),
        ("S3:/bucket", "s3://bucket"),
        ("gs:/bucket/a", "gs://bucket/a"),
        ("file:/home/a", "file:///home/a"),
        ("file:///home/a", "file:///home/a"),
        ("s3", None),
        ("study/s3:/x", None),
        ("https:/host/studies/1", None),
    ],
)
def test_what_is_an_address(text: str, url: str | None) -> None:
    assert parse_store_url(text) == url


def test_a_folder_goes_there_and_comes_back(s3: S3ServerForTests, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "deep" / "er").mkdir(parents=True)
    there.mkdir()
    content = {"a.bin": os.urandom(9_000_000), "deep/b.txt": b"", "deep/er/c d+%.txt": b"name"}
    for name, data in content.items():
        (here / name).write_bytes(data)
    (here / ".a.json.1.partial").write_bytes(b"half")
    store = ObjectFolder("s3://bucket/round/trip")
    assert store.upload(here) == 3
    assert s3.keys("round/") == sorted(f"round/trip/{name}" for name in content)
    assert ObjectFolder("s3://bucket/round/trip/").download(there) == 3
    assert {name: (there / name).read_bytes() for name in content} == content
    (one,) = ObjectFolder("s3://bucket/round/trip/a.bin").files()
    assert (one.name, one.size) == ("a.bin", 9_000_000)


def test_only_what_changed_is_sent_and_what_vanished_is_deleted(s3: S3ServerForTests, tmp_path: Path) -> None:
    for name in ("old", "same", "changed"):
        s3.put(f"change/{name}", b"1")
    s3.put("change-other", b"1")
    store = ObjectFolder("s3://bucket/change")
    assert store.download(tmp_path) == 3
    assert store.upload(tmp_path) == 0
    (tmp_path / "changed").write_bytes(b"22")
    (tmp_path / "new").write_bytes(b"3")
    (tmp_path / "old").unlink()
    assert (store.upload(tmp_path), store.upload(tmp_path)) == (2, 0)
    assert (store.remove_missing(tmp_path), store.remove_missing(tmp_path)) == (1, 0)
    assert s3.keys("change") == [
        "change-other",
        "change/changed",
        "change/new",
        "change/same",
    ]
    assert s3.get("change/changed") == b"22"


def test_a_name_that_leaves_the_folder_is_refused(s3: S3ServerForTests, tmp_path: Path) -> None:
    s3.put("evil/a/../../../b", b"x")
    with pytest.raises(ObjectStoreError, match="rename that object"):
        ObjectFolder("s3://bucket/evil").download(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_not_there_and_what_cannot_be_reached(
    s3: S3ServerForTests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ObjectFolder("s3://bucket/nothing").download(tmp_path) == 0
    with pytest.raises(ObjectStoreError, match="s3 store cannot be used"):
        ObjectFolder("s3://no-such-bucket/x").upload(_folder_with_a_file(tmp_path))
    with pytest.raises(ObjectStoreError) as caught:
        ObjectFolder("s3://user:secret@bucket/x?nonsense=1")
    assert "secret" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "pyarrow.fs", None)
    with pytest.raises(ObjectStoreError, match=r"pip install 'echoapex\[s3\]'"):
        ObjectFolder("s3://bucket/x")


def _folder_with_a_file(folder: Path) -> Path:
    (folder / "a").write_bytes(b"1")
    return folder


def test_files_that_do_not_fit_are_not_fetched(
    s3: S3ServerForTests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put("large/a", b"12345")
    usage = type("Usage", (), {"free": 4})
    monkeypatch.setattr("echoapex.io.object_store.shutil.disk_usage", lambda place: usage)
    with pytest.raises(ObjectStoreError, match="set TMPDIR"):
        ObjectFolder("s3://bucket/large").download(tmp_path)
    assert not list(tmp_path.iterdir())
