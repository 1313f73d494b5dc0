"""Folders on disk and in archives, walked alike."""

from pathlib import Path

import pytest
from synthetic_files import write_zip

from echoapex.io.archive import list_members, opened_archive, read_member_head, walk_archive, walk_disk
from echoapex.io.clip_source import ReadLimits
from echoapex.io.file_format import FoundFile, FoundFolder, file_on_disk

NAMES = ("b/2", "a/1", "top", "a/deep/3", ".git/config", "__MACOSX/x")


def _names(folders: list[FoundFolder]) -> list[str]:
    return ["/".join(file.parts) for folder in folders for file in folder.files]


def test_both_walks_find_the_same_in_the_same_order(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    archive = write_zip(tmp_path / "a.zip", {name: name.encode() for name in NAMES})
    members, _ = list_members(archive, "a.zip", ReadLimits())

    on_disk = list(walk_disk(root, lambda error: None))
    packed = list(walk_archive(archive, ("a.zip",), members))

    assert _names(on_disk) == ["top", "a/1", "a/deep/3", "b/2"]
    assert _names(packed) == [f"a.zip/{name}" for name in _names(on_disk)]
    for folder in (*on_disk, *packed):
        for file in folder.files:
            assert head_of(file, 99).decode() in "/".join(file.parts)
            assert head_of(file, 1) == head_of(file, 99)[:1]
            assert file.size == len(head_of(file, 99))


def head_of(file: FoundFile, count: int) -> bytes:
    if not file.member:
        return file.read_head(count, "x")
    with opened_archive(file.path, "x") as archive:
        return read_member_head(archive, file.member, count, "x")


def test_unreadable_folders_are_told(tmp_path: Path) -> None:
    heard: list[OSError] = []

    assert list(walk_disk(tmp_path / "gone", heard.append)) == []
    assert len(heard) == 1


def test_a_link_and_its_target_have_one_key(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").symlink_to(tmp_path / "a")

    assert file_on_disk(tmp_path / "a", ("a",)).key == file_on_disk(tmp_path / "b", ("b",)).key


def test_siblings(tmp_path: Path) -> None:
    for name in ("x.mhd", "x.raw"):
        (tmp_path / name).write_bytes(b"x")
    (folder,) = walk_disk(tmp_path, lambda error: None)

    assert folder.sibling("x.raw").path == tmp_path / "x.raw"
    assert folder.sibling("y.raw") is None


def test_a_folder_that_may_be_listed_but_not_entered_hides_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1", "shut/2", "z/3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    real = Path.is_file

    def without_permission(path: Path) -> bool:
        if path.parent.name == "shut":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "is_file", without_permission)
    heard: list[OSError] = []

    assert _names(list(walk_disk(tmp_path, heard.append))) == ["a/1", "z/3"]
    assert [Path(str(error.filename)).name for error in heard] == ["2"]
