"""What pictures claim about themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import uid
from synthetic_dicom import jpeg, moving_frames, pydicom_encoder

from echoapex.io.dicom.codecs import Picture, read_picture, without_colour_markers

RGB = moving_frames(1, 40, 56)[0]
ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"


def test_jpeg() -> None:
    assert read_picture(jpeg(RGB)) == Picture(40, 56, 3, 8)
    assert read_picture(jpeg(RGB[..., 0])) == Picture(40, 56, 1, 8)


@pytest.mark.parametrize("transform", [0, 1])
def test_the_adobe_marker(transform: int) -> None:
    data = jpeg(RGB)
    picture = read_picture(data[:2] + ADOBE + bytes([transform]) + data[2:])
    assert picture is not None and picture.adobe_transform == transform


@pytest.mark.parametrize(("syntax", "plugin"), [(uid.JPEGLSLossless, "pyjpegls"), (uid.JPEG2000Lossless, "pylibjpeg")])
def test_jpeg_ls_and_jpeg_2000(syntax: str, plugin: str) -> None:
    assert read_picture(pydicom_encoder(syntax, "RGB", plugin)(RGB)) == Picture(40, 56, 3, 8)
    deep = RGB[..., 0].astype(np.uint16) * 257
    assert read_picture(pydicom_encoder(syntax, "MONOCHROME2", plugin)(deep)) == Picture(40, 56, 1, 16)


def test_colour_markers_are_cut_out_and_nothing_else() -> None:
    data = jpeg(RGB)
    marked = data[:2] + ADOBE + b"\1" + data[2:]
    assert without_colour_markers(marked) == without_colour_markers(data)
    assert b"JFIF" in data and b"JFIF" not in without_colour_markers(data)
    assert read_picture(without_colour_markers(marked)) == Picture(40, 56, 3, 8)


@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda tail: b"\xff\xd8\xff" + tail))
def test_any_bytes_are_survived(data: bytes) -> None:
    picture = read_picture(data)
    assert picture is None or picture.components >= 0
    assert len(without_colour_markers(data)) <= len(data)
