"""Everything new follows from the key."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pydicom.uid import UID

from echoapex.io.deidentification.project_key import ProjectKey, ProjectKeyError, read_or_create_project_key

KEY = ProjectKey(bytes(range(32)))


def test_a_uid_is_valid_stable_and_keyed() -> None:
    new = KEY.uid("1.2.3.4")
    assert UID(new).is_valid
    assert new == KEY.uid("1.2.3.4") != KEY.uid("1.2.3.5")
    assert new != ProjectKey(bytes(32)).uid("1.2.3.4")
    assert "1.2.3.4" not in new


def test_kinds_of_values_do_not_share_pseudonyms() -> None:
    assert KEY.pseudonym("patient", "x") != KEY.pseudonym("study", "x")


def test_dates_move_by_the_same_days_for_a_patient_and_by_many_for_all() -> None:
    shifts = {KEY.shift_days(f"id {number}") for number in range(200)}
    assert min(shifts) >= 30
    assert max(shifts) <= 3650
    assert len(shifts) > 180
    assert KEY.shift_days("id 7") == KEY.shift_days("id 7")


def test_the_key_never_shows() -> None:
    assert bytes(range(32)).hex() not in repr(KEY)
    assert "x01" not in repr(KEY)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ProjectKeyError, match="fewer than 32 bytes"):
        ProjectKey(b"secret")


def test_a_new_key_is_for_its_owner_only_and_is_found_again(tmp_path: Path) -> None:
    made, is_new = read_or_create_project_key(tmp_path / "keys" / "a.key")
    again, is_newer = read_or_create_project_key(tmp_path / "keys" / "a.key")
    assert (is_new, is_newer) == (True, False)
    assert made == again
    assert stat.S_IMODE((tmp_path / "keys" / "a.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "abcd", "no key at all", "é"])
def test_a_file_that_holds_no_key_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ProjectKeyError):
        read_or_create_project_key(path)
