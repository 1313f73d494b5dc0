"""Digest and content of files without a header."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from echoapex.domain import ContentKind
from echoapex.io.clip_source import ReadError
from echoapex.io.content import content_of_pixels
from echoapex.io.plain_file import file_digest


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")

    assert file_digest(tmp_path / "a", "a") == hashlib.sha256(b"abc").hexdigest()


def test_empty_and_missing_files_are_refused_without_their_path(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"")

    for path, reason in ((tmp_path / "secret", "is empty"), (tmp_path / "secret2", "cannot be read")):
        with pytest.raises(ReadError, match=reason) as caught:
            file_digest(path, "clip")
        assert "secret" not in str(caught.value)


def test_colour_flow_is_told_from_grey() -> None:
    grey = np.full((100, 120, 3), 90, np.uint8)
    flow = grey.copy()
    flow[40:70, 30:80] = (30, 40, 230)

    assert content_of_pixels([grey]).kind is ContentKind.B_MODE
    found = content_of_pixels([grey, flow])
    assert found.kind is ContentKind.COLOUR_DOPPLER
    assert found.colour_box_xyxy == pytest.approx((30, 40, 80, 70), abs=3)
