"""The key: made once, secret, and digests that depend on it."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from echoapex.data.ingest.plan import ArchiveKey, read_or_create_key
from echoapex.data.stores.place import StoreError


def test_a_missing_key_is_made_for_its_owner_only_and_then_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "archive.key"
    old = os.umask(0)
    try:
        key, created = read_or_create_key(path)
    finally:
        os.umask(old)
    assert created
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again, created = read_or_create_key(path)
    assert not created
    assert again.secret == key.secret
    assert len(key.secret) == 32
    assert read_or_create_key(tmp_path / "other.key")[0].secret != key.secret


def test_a_digest_is_the_hmac_of_kind_and_value() -> None:
    secret = bytes(range(32))
    expected = hmac.new(secret, b"patient\x1f12", hashlib.sha256).hexdigest()[:32]
    key = ArchiveKey(secret)
    assert key.digest("patient", "12") == expected
    assert key.digest("study", "12") != expected
    assert ArchiveKey(bytes(32)).digest("patient", "12") != expected
    assert key.digest("file", "not utf-8: \udcff")


def test_a_patient_is_always_on_the_same_side_and_the_share_is_kept() -> None:
    key = ArchiveKey(bytes(range(32)))
    patients = [f"{number}" for number in range(4000)]
    sides = [key.split_of(patient, 20) for patient in patients]
    assert sides == [key.split_of(patient, 20) for patient in patients]
    assert np.mean([side == "val" for side in sides]) == pytest.approx(0.2, abs=0.03)
    assert {key.split_of(patient, 0) for patient in patients} == {"train"}
    assert {key.split_of(patient, 100) for patient in patients} == {"val"}


@pytest.mark.parametrize("content", ["not hexadecimal", "ab" * 8 + "zz", "abcd", ""])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.key"
    path.write_text(content)
    with pytest.raises(StoreError, match="key"):
        read_or_create_key(path)
