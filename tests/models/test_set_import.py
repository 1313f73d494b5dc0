from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from echoapex.models import registry
from echoapex.models.bundle import BundleError
from echoapex.models.registry import find_set, import_set, user_directory

WriteSet = Callable[..., Path]


@pytest.fixture
def source(shipped: Path, write_set: WriteSet, tmp_path: Path) -> Path:
    return write_set(tmp_path / "source" / "Clinic", "segmentation")


def pack(directory: Path, archive: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                file.write(path, prefix + str(path.relative_to(directory)))
    return archive


def nothing_was_left() -> bool:
    return not user_directory().exists() or list(user_directory().iterdir()) == []


def test_a_directory_is_imported_under_its_name_in_lower_case(source: Path) -> None:
    (source / "segmentation" / "run.sh").write_text("not part of a bundle")
    paths = import_set(source)
    assert paths.name == "clinic"
    assert paths.directory == user_directory() / "clinic"
    assert find_set("clinic").find_task("segmentation").load()[1].card.task == "segmentation"
    assert not (paths.directory / "segmentation" / "run.sh").exists()


@pytest.mark.parametrize("prefix", ["", "clinic-v2/"])
def test_a_zip_is_imported_with_or_without_a_top_folder(source: Path, tmp_path: Path, prefix: str) -> None:
    paths = import_set(pack(source, tmp_path / "clinic-v2.zip", prefix))
    assert paths.name == "clinic-v2"
    assert list(paths.bundles) == ["encoder", "segmentation"]
    assert [path.name for path in user_directory().iterdir()] == ["clinic-v2"]


def test_a_name_is_taken_until_replace_is_given(source: Path, write_set: WriteSet, tmp_path: Path) -> None:
    import_set(source, "mine")
    newer = write_set(tmp_path / "newer", "lv_wall")
    with pytest.raises(BundleError, match="a set of that name exists; give --replace"):
        import_set(newer, "mine")
    assert "segmentation" in find_set("mine").bundles
    assert list(import_set(newer, "mine", replace=True).bundles) == ["encoder", "lv_wall"]


@pytest.mark.parametrize("name", ["../up", "a/b", "Upper", ".hidden", "phantom", "open", "default"])
def test_names_that_lead_elsewhere_or_hide_the_default_are_refused(source: Path, name: str) -> None:
    with pytest.raises(BundleError, match="name"):
        import_set(source, name)
    assert nothing_was_left()


def test_a_damaged_set_is_refused_and_named_by_its_source(source: Path) -> None:
    weights = source / "segmentation" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BundleError, match=r"Clinic/segmentation/weights\.safetensors: is damaged"):
        import_set(source)
    assert nothing_was_left()


@pytest.mark.parametrize("entry", ["../encoder/card.json", "/encoder/card.json", "C:\\encoder\\card.json", "a\\..\\b"])
def test_an_archive_that_leads_outside_is_refused(source: Path, tmp_path: Path, entry: str) -> None:
    archive = pack(source, tmp_path / "evil.zip")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(entry, "{}")
    with pytest.raises(BundleError, match="leads outside the archive"):
        import_set(archive)
    assert nothing_was_left()


def test_links_and_encrypted_entries_are_refused(source: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked.zip"
    with zipfile.ZipFile(linked, "w") as file:
        link = zipfile.ZipInfo("encoder/card.json")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/hostname")
    with pytest.raises(BundleError, match="is a link"):
        import_set(linked)
    archive = pack(source, tmp_path / "locked.zip")
    content = bytearray(archive.read_bytes())
    central = content.index(b"PK\x01\x02")
    struct.pack_into("<H", content, central + 8, 1)  # flag: encrypted
    archive.write_bytes(content)
    with pytest.raises(BundleError, match="is encrypted"):
        import_set(archive)


def test_an_archive_that_would_fill_the_disk_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(source, tmp_path / "big.zip")
    monkeypatch.setattr(registry, "_SIZE_LIMIT_BYTES", 1000)
    with pytest.raises(BundleError, match="no set of bundles is so large"):
        import_set(archive)
    assert nothing_was_left()


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "not_a_zip", "absent"])
def test_a_damaged_archive_is_one_clear_error(shipped: Path, source: Path, tmp_path: Path, damage: str) -> None:
    archive = pack(source, tmp_path / "set.zip")
    content = bytearray(archive.read_bytes())
    middle = len(content) // 2
    content[middle] ^= 0xFF
    variants = {"empty": b"", "truncated": content[:middle], "flipped": bytes(content), "not_a_zip": b"GIF89a" * 99}
    if damage == "absent":
        archive.unlink()
    else:
        archive.write_bytes(variants[damage])
    with pytest.raises(BundleError, match=r"set\.zip"):
        import_set(archive)
    assert nothing_was_left()


def test_sources_without_a_bundle_or_with_two_of_a_kind_are_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    with pytest.raises(BundleError, match="holds no bundle"):
        import_set(tmp_path / "void")
    archive = pack(source, tmp_path / "two.zip")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("again/encoder/card.json", "{}")
    with pytest.raises(BundleError, match="holds a bundle twice"):
        import_set(archive)
