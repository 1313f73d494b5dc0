"""Names of files: nothing of them is shown, the same key gives the same names, and the map leads back."""

import re

import pytest

from echoapex.io.deidentify import FileNames, clip_id_of

KEY = bytes(range(32))
PARTS = ("Müller-Lüdenscheid", "19510829", "Ng.dcm")


def test_the_same_key_gives_the_same_names() -> None:
    first, second = FileNames(KEY).name_clip(PARTS, "p"), FileNames(KEY).name_clip(PARTS, "elsewhere")
    assert first == second
    assert re.fullmatch("clip-[0-9a-f]{16}", first[0])
    assert first[0] == first[1]


def test_another_key_gives_other_names() -> None:
    assert FileNames(KEY).name_clip(PARTS, "p") != FileNames(bytes(32)).name_clip(PARTS, "p")
    assert FileNames().name_clip(PARTS, "p") != FileNames().name_clip(PARTS, "p")


def test_parts_are_told_apart() -> None:
    names = FileNames(KEY)
    assert names.name_clip(("a", "b"), "1") != names.name_clip(("a/b",), "2")


def test_a_clip_met_twice_has_two_names_and_an_error_one() -> None:
    names = FileNames(KEY)
    assert len({names.name_clip(PARTS, str(number)) for number in range(5)}) == 5
    assert names.name_file(PARTS, "x") == names.name_file(PARTS, "x")
    assert names.name_file(PARTS, "x") not in {name for name in names.originals if name.startswith("clip")}


def test_the_map_leads_back() -> None:
    names = FileNames(KEY)
    clip, _ = names.name_clip(PARTS, "/archive/Ng.dcm")
    error = names.name_file(("x",), "/archive/x")
    assert names.originals == {clip: "/archive/Ng.dcm", error: "/archive/x"}


def test_names_are_kept_where_that_was_asked_for() -> None:
    names = FileNames(keep=True)
    assert names.name_clip(("a", "A4C.dcm"), "p")[0] == "a/A4C.dcm"
    assert names.name_clip(("a", "A4C.dcm"), "p")[0] == "a/A4C.dcm (2)"
    assert names.name_file(("b\n",), "p") == "b?"
    assert names.originals == {}


@pytest.mark.parametrize("part", ["\udcff", "a\0b", "名前"])
def test_any_name_can_be_named(part: str) -> None:
    assert FileNames(KEY).name_clip((part,), "p")[0].isascii()


def test_clip_ids_of_kept_names_are_safe_and_differ() -> None:
    ids = {clip_id_of(name) for name in ("a/A4C.dcm", "b/A4C.dcm", "../x y?.avi", "...", "\udcff.dcm")}

    assert len(ids) == 5
    assert all(re.fullmatch("[A-Za-z0-9_-]+", each) for each in ids)
