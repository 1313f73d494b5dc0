"""Depth, palettes and windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from echoapex.io.clip_source import ReadError
from echoapex.io.dicom.codecs import PixelLayout
from echoapex.io.dicom.pixels import FrameDecoder, GreyWindow, read_grey_window, without_shared_chroma

GREY = PixelLayout(2, 4, 1, 1, "MONOCHROME2", 0, 16, 12, False, UID(ExplicitVRLittleEndian), "OW")


def decode(layout: PixelLayout, values: np.ndarray, **elements: object) -> np.ndarray:
    dataset = Dataset()
    dataset.set_original_encoding(False, True, "iso8859")
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return FrameDecoder(layout, dataset, "a.dcm").decode(values.tobytes(), 0)


def test_deep_samples_are_spread_over_8_bit() -> None:
    values = np.array([[0, 4095, 2048, 1], [16, 4080, 1024, 3000]], np.uint16)
    assert np.array_equal(decode(GREY, values), np.rint(values.astype(float) * 255 / 4095))


def test_signed_samples_start_at_the_lowest() -> None:
    layout = replace(GREY, signed=True, bits_stored=16)
    values = np.array([[-32768, 0, 32767, -1], [0, 0, 0, 0]], np.int16)
    assert decode(layout, values)[0].tolist() == [0, 128, 255, 127]


def test_the_window_of_the_header_is_used_for_deep_samples() -> None:
    values = np.array([[0, 100, 200, 400], [150, 50, 0, 0]], np.uint16)
    found = decode(GREY, values, WindowCenter="150.5", WindowWidth="101")
    assert found[0].tolist() == [0, 0, 255, 255]
    assert found[1, 0] == 128


def test_the_window_counts_in_rescaled_values() -> None:
    dataset = Dataset()
    dataset.WindowCenter, dataset.WindowWidth = "50.5", "101"
    dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-100"
    window = read_grey_window(dataset, GREY)
    assert window == GreyWindow(50.0, 100.0)


def test_plain_8_bit_samples_are_not_touched_even_with_a_window() -> None:
    dataset = Dataset()
    dataset.WindowCenter, dataset.WindowWidth = "10", "20"
    assert read_grey_window(dataset, replace(GREY, bits_allocated=8, bits_stored=8)) is None


def test_a_palette_image_without_palette_is_refused() -> None:
    layout = replace(GREY, photometric="PALETTE COLOR", bits_allocated=8, bits_stored=8)
    with pytest.raises(ReadError, match="palette is missing"):
        decode(layout, np.zeros((2, 4), np.uint8))


def test_a_palette_of_8_bit_entries_in_16_bit_words() -> None:
    layout = replace(GREY, photometric="PALETTE COLOR", bits_allocated=8, bits_stored=8)
    words = np.arange(256, dtype="<u2").tobytes()
    elements: dict[str, object] = {}
    for colour in ("Red", "Green", "Blue"):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        elements[f"{colour}PaletteColorLookupTableData"] = words
    values = np.array([[0, 50, 100, 255], [1, 2, 3, 4]], np.uint8)
    assert np.array_equal(decode(layout, values, **elements), np.repeat(values[..., None], 3, axis=2))


def test_a_frame_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ReadError, match="frame 0 cannot be decoded"):
        decode(GREY, np.zeros(7, np.uint16))


def test_shared_chroma_is_told_by_the_length() -> None:
    layout = replace(GREY, photometric="YBR_FULL_422", samples=3, bits_allocated=8, bits_stored=8)
    assert without_shared_chroma(layout, 2 * 4 * 2) is layout
    assert without_shared_chroma(layout, 2 * 4 * 3).photometric == "YBR_FULL"
