"""Pseudonyms and blanked margins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from real_files import real_dicom, unzipped_dicom

from echoapex.domain import Sector
from echoapex.io.deidentify import deidentify_frame, pseudonym
from echoapex.io.dicom.reader import open_dicom

BOX = Sector((10.0, 5.0, 30.0, 25.0))


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3)])
def test_everything_outside_the_sector_is_black_and_inside_is_untouched(shape: tuple[int, ...]) -> None:
    frame = np.random.default_rng(0).integers(1, 255, shape, dtype=np.uint8)
    before = frame.copy()
    blanked = deidentify_frame(frame, BOX)
    assert np.array_equal(frame, before)
    assert np.array_equal(blanked[5:25, 10:30], frame[5:25, 10:30])
    outside = np.ones(shape[:2], bool)
    outside[5:25, 10:30] = False
    assert not blanked[outside].any()


def test_a_polygon_is_followed() -> None:
    triangle = Sector((10.0, 5.0, 30.0, 25.0), ((20.0, 5.0), (29.0, 24.0), (10.0, 24.0)))
    blanked = deidentify_frame(np.full((40, 50), 9, np.uint8), triangle)
    assert blanked[20, 20] == 9
    assert blanked[6, 11] == 0


def test_names_burned_into_a_real_clip_are_blanked() -> None:
    source = open_dicom(real_dicom("color3d_jpeg_baseline.dcm"))
    assert source.header.sector is not None
    frame = next(source.frames())
    blanked = deidentify_frame(frame, source.header.sector)
    assert frame[:, :75].max() > 100  # the names are in the margin
    assert not blanked[:, :75].any()


def test_a_linear_array_has_no_sector_and_is_set_aside(tmp_path: Path) -> None:
    header = open_dicom(unzipped_dicom("RGB_CINE.zip", tmp_path)).header
    assert header.sector is None
    assert header.content_reason


def test_a_pseudonym_is_stable_keyed_and_reveals_nothing() -> None:
    assert pseudonym("1.2.3") == pseudonym("1.2.3")
    assert pseudonym("1.2.3") != pseudonym("1.2.4")
    assert pseudonym("1.2.3", b"a") != pseudonym("1.2.3", b"b")
    assert "1.2.3" not in pseudonym("1.2.3")
    assert pseudonym("") == ""
