"""Digest of files without a header."""

import hashlib
from pathlib import Path

import pytest

from echoapex.io.clip_source import ReadError
from echoapex.io.file_format import file_digest


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")

    assert file_digest(tmp_path / "a", "a") == hashlib.sha256(b"abc").hexdigest()


def test_empty_and_missing_files_are_refused_without_their_path(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"")

    for path, reason in ((tmp_path / "secret", "is empty"), (tmp_path / "secret2", "cannot be read")):
        with pytest.raises(ReadError, match=reason) as caught:
            file_digest(path, "clip")
        assert "secret" not in str(caught.value)
