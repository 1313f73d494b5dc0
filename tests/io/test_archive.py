"""Archives that are hostile, damaged or locked: one reason each, and bounded in time and memory."""

import stat
import struct
import zipfile
from pathlib import Path

import pytest
from synthetic_files import mark_encrypted, write_zip

from echoapex.io.archive import extract_members, list_members
from echoapex.io.clip_source import ReadError, ReadLimits


def test_members_are_sorted_and_extracted_whole(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"b/two.bin": b"2" * 3000, "a/one.bin": b"1"})

    members, errors = list_members(path, "a.zip", ReadLimits())
    folder = tmp_path / "out"
    folder.mkdir()
    (written,) = extract_members(path, ["b/two.bin"], folder, "a.zip")

    assert [info.filename for info in members] == ["a/one.bin", "b/two.bin"]
    assert errors == []
    assert written == folder / "two.bin"
    assert written.read_bytes() == b"2" * 3000


@pytest.mark.parametrize("name", ["../evil.dcm", "/etc/evil.dcm", "a/../../evil.dcm", "..\\evil.dcm", "C:\\evil.dcm"])
def test_names_that_climb_out_are_refused_and_the_rest_kept(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "a.zip", {name: b"evil", "good.dcm": b"good"})

    members, (error,) = list_members(path, "a.zip", ReadLimits())

    assert [info.filename for info in members] == ["good.dcm"]
    assert error.path == "a.zip/evil.dcm"
    assert "points outside" in error.reason


def test_links_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.dcm")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")

    members, (error,) = list_members(tmp_path / "a.zip", "a.zip", ReadLimits())

    assert members == []
    assert "symbolic link" in error.reason


def test_encryption_is_told(tmp_path: Path) -> None:
    path = mark_encrypted(write_zip(tmp_path / "a.zip", {"a.dcm": b"a", "b.dcm": b"b"}), "a.dcm")
    members, (error,) = list_members(path, "a.zip", ReadLimits())
    assert [info.filename for info in members] == ["b.dcm"]
    assert "encrypted" in error.reason

    with pytest.raises(ReadError, match="is encrypted"):
        list_members(mark_encrypted(path), "a.zip", ReadLimits())


def test_a_bomb_is_told_from_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "a.zip", {"bomb.dcm": bytes(40_000_000), "good.dcm": b"good"})
    assert path.stat().st_size < 100_000

    def expand(*_: object) -> bytes:
        raise AssertionError("a member was expanded")

    monkeypatch.setattr(zipfile.ZipExtFile, "read", expand)
    members, (error,) = list_members(path, "a.zip", ReadLimits())

    assert [info.filename for info in members] == ["good.dcm"]
    assert "decompression bombs" in error.reason


def test_the_sum_is_bounded(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {f"{number}.dcm": bytes(1000) for number in range(20)})

    with pytest.raises(ReadError, match="would expand to more"):
        list_members(path, "a.zip", ReadLimits(max_archive_bytes=10_000))


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_damaged_archive_is_refused(tmp_path: Path, keep: int) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.dcm": bytes(range(256)) * 9})
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(ReadError, match="damaged or incomplete zip"):
        list_members(path, "a.zip", ReadLimits())


def test_a_member_with_flipped_bits_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.dcm": bytes(range(256)) * 40})
    content = bytearray(path.read_bytes())
    content[60:80] = bytes(20)
    path.write_bytes(bytes(content))

    with pytest.raises(ReadError, match="damaged"):
        extract_members(path, ["a.dcm"], tmp_path, "a.zip")


def test_a_member_that_lies_about_its_size_stops_there(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.dcm": bytes(5_000_000)})
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.find(b"PK\x01\x02") + 24, 1000)
    path.write_bytes(bytes(content))
    folder = tmp_path / "out"
    folder.mkdir()

    with pytest.raises(ReadError):
        extract_members(path, ["a.dcm"], folder, "a.zip")
    assert all(file.stat().st_size <= 1 << 20 for file in folder.iterdir())
