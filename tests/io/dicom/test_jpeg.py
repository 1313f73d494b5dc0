"""JPEG: the fast decoder agrees with pydicom's, and is used only where its colours are right."""

from __future__ import annotations

import gdcm
import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames
from pydicom.uid import JPEG2000, UID, JPEGBaseline8Bit, JPEGLossless
from real_files import real_dicom
from synthetic_dicom import jpeg, moving_frames, recompress_by_gdcm, to_ybr, write_native

from echoapex.io.dicom.codecs import PixelLayout, decode_deep_grey, decode_jpeg, read_picture

RGB = moving_frames(1)[0]


def layout(photometric: str, samples: int = 3, syntax: str = JPEGBaseline8Bit, bits: int = 8) -> PixelLayout:
    return PixelLayout(48, 64, 1, samples, photometric, 0, 16 if bits > 8 else 8, bits, False, UID(syntax), "OB")


def decode(data: bytes, pixels: PixelLayout) -> np.ndarray | None:
    picture = read_picture(data)
    assert picture is not None
    return decode_deep_grey(data, pixels) if picture.precision > 8 else decode_jpeg(data, picture, pixels)


def test_the_real_loop_decodes_pixel_for_pixel_as_by_pydicom() -> None:
    dataset = pydicom.dcmread(real_dicom("color3d_jpeg_baseline.dcm"))
    data = next(generate_frames(dataset.PixelData, number_of_frames=120))
    expected = pydicom.pixels.pixel_array(dataset, index=0, decoding_plugin="pillow")
    pixels = PixelLayout(480, 640, 120, 3, "YBR_FULL_422", 0, 8, 8, False, UID(JPEGBaseline8Bit), "OB")
    assert np.array_equal(decode(data, pixels), expected)


def test_colours_that_libjpeg_would_get_wrong_are_left_to_another_decoder() -> None:
    data = jpeg(RGB)
    adobe_rgb = data[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00" + data[2:]
    assert decode(data, layout("YBR_FULL")) is not None
    assert decode(data, layout("RGB")) is None
    assert decode(adobe_rgb, layout("YBR_FULL")) is None


def test_other_compression_is_left_to_another_decoder() -> None:
    assert decode(jpeg(RGB), layout("YBR_FULL", syntax=JPEG2000)) is None


@pytest.mark.parametrize("cut", [30, 200, 700])
def test_a_picture_that_ends_early_is_an_error(cut: int) -> None:
    with pytest.raises(ValueError):
        decode(jpeg(RGB)[:-cut], layout("YBR_FULL"))


def test_stray_bytes_before_the_end_are_harmless() -> None:
    data = jpeg(RGB)
    assert data.endswith(b"\xff\xd9")
    stray = decode(data[:-2] + b"\x00\x00\x00" + b"\xff\xd9", layout("YBR_FULL"))
    assert np.array_equal(stray, decode(data, layout("YBR_FULL")))


def lossless_picture(frame: np.ndarray, photometric: str, folder: object, **elements: object) -> bytes:
    native = write_native(folder / "n.dcm", frame[np.newaxis], photometric, **elements)  # type: ignore[operator]
    kind = gdcm.TransferSyntax.JPEGLosslessProcess14
    path = recompress_by_gdcm(native, folder / "l.dcm", kind)  # type: ignore[operator]
    return next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))


def test_lossless_colours_follow_the_header(tmp_path: object) -> None:
    as_rgb = decode(lossless_picture(RGB, "RGB", tmp_path), layout("RGB", syntax=JPEGLossless))
    assert np.array_equal(as_rgb, RGB)
    ybr = to_ybr(RGB[np.newaxis])[0]
    from_ybr = decode(lossless_picture(ybr, "RGB", tmp_path), layout("YBR_FULL", syntax=JPEGLossless))
    assert from_ybr is not None
    assert np.abs(from_ybr.astype(int) - RGB).mean() < 1


@pytest.mark.parametrize(("factor", "bits"), [(16, 12), (257, 16)])
def test_deep_lossless_grey_is_exact(factor: int, bits: int, tmp_path: object) -> None:
    deep = RGB[..., 0].astype(np.uint16) * factor
    data = lossless_picture(deep, "MONOCHROME2", tmp_path, BitsStored=bits, HighBit=bits - 1)
    assert np.array_equal(decode(data, layout("MONOCHROME2", 1, JPEGLossless, bits)), deep)
