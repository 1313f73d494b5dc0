from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from echoapex.models.bundle import BundleError
from echoapex.models.registry import TASKS, find_set, import_set, list_sets, user_directory, verify_set

WriteSet = Callable[..., Path]


def test_the_default_set_is_found_by_name(shipped: Path, write_set: WriteSet) -> None:
    write_set(shipped / "phantom", "segmentation", "lv_wall")
    found = find_set()
    assert found.directory == shipped / "phantom"
    assert list(found.bundles) == ["encoder", "segmentation", "lv_wall"]
    encoder, decoder, _ = found.find_task("segmentation").load()
    assert encoder.card.kind == "encoder"
    assert decoder.card.task == "segmentation"
    with pytest.raises(BundleError, match=r"no decoder for 'ejection_fraction' \(it has: segmentation, lv_wall\)"):
        found.find_task("ejection_fraction")


def test_without_shipped_weights_the_default_set_says_so(shipped: Path) -> None:
    with pytest.raises(BundleError, match="ship with the package are missing"):
        find_set()
    assert list_sets() == []


def test_a_lacking_task_comes_from_the_default_set_with_its_own_encoder(shipped: Path, write_set: WriteSet) -> None:
    write_set(shipped / "phantom", *TASKS, seed=1)
    write_set(user_directory() / "camus", "segmentation", seed=2)
    camus = find_set("camus")
    own, lent = camus.find_task("segmentation"), camus.find_task("lv_wall")
    assert own.encoder == user_directory() / "camus" / "encoder"
    assert own.set_name == "camus"
    assert lent.encoder == shipped / "phantom" / "encoder"
    assert lent.set_name == "phantom"
    assert own.load()[0].digest != lent.load()[0].digest


def test_a_set_without_an_encoder_uses_the_default_one(
    shipped: Path, write_set: WriteSet, write_decoder: Callable[..., object]
) -> None:
    write_set(shipped / "phantom", "segmentation")
    digest = find_set().find_task("segmentation").load()[0].digest
    write_decoder(user_directory() / "extra" / "segmentation", "segmentation", digest)
    task = find_set("extra").find_task("segmentation")
    assert task.encoder == shipped / "phantom" / "encoder"
    assert task.load()[0].digest == digest
    assert not any(check.problem for check in verify_set(find_set("extra")))


def test_a_set_is_found_by_path_and_a_name_prefers_the_user_directory(
    shipped: Path, write_set: WriteSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(shipped / "phantom")
    here = write_set(tmp_path / "work" / "mine")
    monkeypatch.chdir(tmp_path / "work")
    assert find_set(here).directory == here
    assert find_set(str(here)).name == "mine"
    assert find_set("mine").directory.resolve() == here.resolve()
    imported = write_set(user_directory() / "mine")
    assert find_set("mine").directory == imported
    assert find_set("./mine").directory.resolve() == here.resolve()
    assert [known.name for known in list_sets()] == ["phantom", "mine"]


@pytest.mark.parametrize("name", ["absent", "../phantom", "/nowhere", ".", ""])
def test_an_unknown_set_names_the_known_ones(
    shipped: Path, write_set: WriteSet, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(shipped / "phantom")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=r"no such set of bundles \(known: phantom\)"):
        find_set(name)


def test_verification_names_each_damaged_or_misplaced_bundle(
    shipped: Path, write_set: WriteSet, write_decoder: Callable[..., object]
) -> None:
    directory = write_set(shipped / "phantom", *TASKS)
    (directory / "lv_wall" / "weights.safetensors").write_bytes(b"nothing")
    (directory / "segmentation").rename(directory / "aside")
    (directory / "view_classification").rename(directory / "segmentation")
    write_decoder(directory / "ejection_fraction", "ejection_fraction", "0" * 64)
    problems = {check.name: check.problem for check in verify_set(find_set())}
    assert problems["encoder"] == ""
    assert "is damaged" in problems["lv_wall"]
    assert "holds 'view_classification', not 'segmentation'" in problems["segmentation"]
    assert "was trained on the encoder 000000000000" in problems["ejection_fraction"]
    with pytest.raises(BundleError, match="holds 'view_classification'"):
        find_set().find_task("segmentation").load()


@pytest.mark.parametrize("lost", ["ejection_fraction", "encoder"])
def test_a_member_without_its_card_is_never_replaced_in_silence(
    shipped: Path, write_set: WriteSet, tmp_path: Path, lost: str
) -> None:
    write_set(shipped / "phantom", *TASKS, seed=1)
    mine = write_set(tmp_path / "mine", *TASKS, seed=2)
    (mine / lost / "card.json").unlink()

    with pytest.raises(BundleError, match=rf"mine/{lost}: its card.json is missing; import the set again"):
        find_set(mine).find_task("ejection_fraction")

    assert next(check.name for check in verify_set(find_set(mine)) if check.problem) == lost
    with pytest.raises(BundleError, match=r"card.json is missing"):
        import_set(mine, "copied")
    (mine / lost / "weights.safetensors").unlink()
    (mine / lost).rmdir()
    assert find_set(mine).find_task("lv_wall").set_name == "mine"  # what is not there at all was never part of it


def test_the_default_set_is_the_open_one_or_the_one_that_the_site_names(
    shipped: Path, write_set: WriteSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_set(shipped / "open", *TASKS, seed=1)
    write_set(shipped / "phantom", *TASKS, seed=2)
    site = write_set(tmp_path / "site", "segmentation", seed=3)
    monkeypatch.delenv("ECHOAPEX_BUNDLE", raising=False)
    assert find_set().directory == find_set("default").directory == shipped / "open"
    assert [known.name for known in list_sets()] == ["open", "phantom"]
    monkeypatch.setenv("ECHOAPEX_BUNDLE", "phantom")
    assert find_set().name == "phantom"
    assert find_set("open").directory == shipped / "open", "a set that is named is that set"
    assert [known.name for known in list_sets()] == ["phantom", "open"]
    monkeypatch.setenv("ECHOAPEX_BUNDLE", str(site))
    found = find_set()
    assert found.directory == site
    assert found.find_task("lv_wall").decoder == shipped / "open" / "lv_wall", "the site's set is not whole"
    monkeypatch.setenv("ECHOAPEX_BUNDLE", "nothing")
    with pytest.raises(BundleError, match=r"nothing: no such set of bundles \(known: open, phantom\)"):
        find_set()
