"""Pixels of every codec: blank outside, unchanged inside, nothing left of a text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gdcm
import numpy as np
import pytest
from deidentified import SIZE, BrightBoxReader, fan_frames, method, write_fan
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from synthetic_dicom import (
    encode_video,
    halve_chroma,
    jpeg,
    pydicom_encoder,
    recompress_by_gdcm,
    region,
    to_ybr,
    write_compressed,
    write_native,
    write_video,
)

from echoapex.io.clip_source import ReadError
from echoapex.io.deidentification.instance import CleanedInstance, clean_instance, write_instance
from echoapex.io.dicom.reader import open_dicom

GREY = fan_frames()
COLOUR = np.stack([GREY, GREY // 2, 240 - GREY], axis=-1) * (GREY > 0)[..., None].astype(np.uint8)
TEXT_ROWS, TEXT_COLUMNS = slice(4, 10), slice(4, 40)


def with_text(frames: np.ndarray) -> np.ndarray:
    """A block of full light in the corner, outside the fan, where a name would be."""
    marked = frames.copy()
    marked[:, TEXT_ROWS, TEXT_COLUMNS] = 255
    return marked


def palette(dataset: dict[str, object]) -> dict[str, object]:
    table = np.arange(256, dtype=np.uint8).tobytes()
    for colour in ("Red", "Green", "Blue"):
        dataset[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 8]
        dataset[f"{colour}PaletteColorLookupTableData"] = table
    return dataset


PLUGINS = {uid.RLELossless: "pylibjpeg", uid.JPEGLSLossless: "pyjpegls", uid.JPEG2000Lossless: "pylibjpeg"}
REGIONS = {"SequenceOfUltrasoundRegions": [region((0, 0, SIZE[1] - 1, SIZE[0] - 1))]}


def native(photometric: str, syntax: str = uid.ExplicitVRLittleEndian, planar: int = 0) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        frames = with_text(GREY if photometric.startswith("MONO") or photometric == "PALETTE COLOR" else COLOUR)
        if photometric == "MONOCHROME1":
            frames = 255 - frames
        if photometric.startswith("YBR"):
            frames = to_ybr(frames)
        if photometric == "YBR_FULL_422":
            halved = halve_chroma(frames)
            written = write_native(path, frames, photometric, syntax, **REGIONS)
            dataset = dcmread(written)
            dataset.PixelData = halved.tobytes()
            dataset.save_as(path)
            return path
        extra = palette({}) if photometric == "PALETTE COLOR" else {}
        return write_native(path, frames, photometric, syntax, planar, **REGIONS, **extra)

    return write


def compressed(syntax: str, grey: bool = False) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        frames = with_text(GREY if grey else COLOUR)
        photometric = "MONOCHROME2" if grey else "RGB"
        if syntax == uid.JPEGBaseline8Bit:
            pictures = [jpeg(frame) for frame in frames]
            photometric = photometric if grey else "YBR_FULL_422"
        else:
            encode = pydicom_encoder(syntax, photometric, PLUGINS[syntax])
            pictures = [encode(frame) for frame in frames]
        return write_compressed(path, frames, photometric, syntax, pictures, **REGIONS)

    return write


def video(path: Path) -> Path:
    stream = encode_video(with_text(COLOUR), "libx264", "mp4")
    return write_video(path, COLOUR, "1.2.840.10008.1.2.4.102", stream, **REGIONS)


def lossless_jpeg(path: Path) -> Path:
    return recompress_by_gdcm(
        native("MONOCHROME2")(path.with_name("plain.dcm")), path, gdcm.TransferSyntax.JPEGLosslessProcess14_1
    )


CODECS = {
    "grey": native("MONOCHROME2"),
    "implicit": native("MONOCHROME2", uid.ImplicitVRLittleEndian),
    "big endian": native("RGB", uid.ExplicitVRBigEndian),
    "inverted grey": native("MONOCHROME1"),
    "palette": native("PALETTE COLOR"),
    "rgb": native("RGB"),
    "planes": native("RGB", planar=1),
    "ybr": native("YBR_FULL"),
    "shared chroma": native("YBR_FULL_422"),
    "deflated": native("RGB", uid.DeflatedExplicitVRLittleEndian),
    "jpeg": compressed(uid.JPEGBaseline8Bit),
    "grey jpeg": compressed(uid.JPEGBaseline8Bit, grey=True),
    "rle": compressed(uid.RLELossless),
    "jpeg-ls": compressed(uid.JPEGLSLossless, grey=True),
    "jpeg 2000": compressed(uid.JPEG2000Lossless),
    "lossless jpeg": lossless_jpeg,
    "h264": video,
}


def cleaned(path: Path, reader: object = None) -> tuple[Path, Dataset, CleanedInstance]:
    how = method(reader=reader)
    dataset, done, _ = clean_instance(path, "a.dcm", how)
    target = path.with_name("new.dcm")
    write_instance(target, dataset, done, how.limits)
    return target, dcmread(target), done


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_is_blank_outside_and_unchanged_inside(codec: str, tmp_path: Path) -> None:
    path = CODECS[codec](tmp_path / "old.dcm")
    before = np.stack(list(open_dicom(path).frames()))
    assert before[:, TEXT_ROWS, TEXT_COLUMNS].mean() > 200

    target, dataset, done = cleaned(path)

    after = np.stack(list(open_dicom(target).frames()))
    kept = done.pixels.kept
    assert dataset.file_meta.TransferSyntaxUID == uid.RLELossless
    assert dataset.PhotometricInterpretation == ("MONOCHROME2" if after.ndim == 3 else "RGB")
    assert dataset.NumberOfFrames == len(after) == len(before)
    assert np.array_equal(after[:, kept], before[:, kept])
    assert not after[:, ~kept].any()
    assert np.array_equal(dataset.pixel_array.reshape(after.shape), after)
    assert "RedPaletteColorLookupTableData" not in dataset


def test_a_single_picture_stays_a_single_picture(tmp_path: Path) -> None:
    path = write_fan(tmp_path / "old.dcm", GREY[:1], NumberOfFrames=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.6.1")
    _, dataset, _ = cleaned(path)
    assert "NumberOfFrames" not in dataset
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.6.1"
    assert dataset.pixel_array.shape == SIZE


@pytest.mark.parametrize(("bits", "stored", "signed"), [(16, 12, 0), (16, 16, 0), (8, 8, 1)])
def test_samples_that_would_lose_depth_are_refused(bits: int, stored: int, signed: int, tmp_path: Path) -> None:
    frames = GREY.astype(np.uint16) if bits == 16 else GREY
    path = write_native(
        tmp_path / "old.dcm", frames, "MONOCHROME2", BitsStored=stored, HighBit=stored - 1,
        PixelRepresentation=signed, **REGIONS,
    )  # fmt: skip
    with pytest.raises(ReadError, match="only 8 bits are kept without loss"):
        clean_instance(path, "a.dcm", method())


def test_a_text_in_the_ultrasound_is_blanked_in_every_frame(tmp_path: Path) -> None:
    frames = fan_frames(5)
    frames[3, 60:66, 70:90] = 254
    _, dataset, done = cleaned(write_fan(tmp_path / "old.dcm", frames), BrightBoxReader())

    after = dataset.pixel_array
    assert not after[:, 60:66, 70:90].any()
    assert [text.box_xyxy for text in done.pixels.texts or ()] == [(70, 60, 90, 66)]
    assert done.pixels.tissue_blanked_percent == pytest.approx(100 * 120 / done.area.tissue.sum(), abs=0.01)
    assert dataset.BurnedInAnnotation == "NO"


def test_a_text_outside_is_counted_but_blanks_no_tissue(tmp_path: Path) -> None:
    frames = GREY.copy()
    frames[:, 4:10, 4:40] = 254
    *_, done = cleaned(write_fan(tmp_path / "old.dcm", frames), BrightBoxReader())
    assert done.pixels.texts == ()
    assert done.pixels.texts_in_source == 1
    assert done.pixels.tissue_blanked_percent == 0


def test_the_search_goes_on_until_nothing_is_found(tmp_path: Path) -> None:
    class OneAtATime(BrightBoxReader):
        """Finds the lowest level first, and the next only when that is gone."""

        def find(self, picture: np.ndarray) -> list[object]:  # type: ignore[override]
            for self.level in (253, 254):
                if found := super().find(picture):
                    return found  # type: ignore[return-value]
            return []

    frames = GREY.copy()
    frames[:, 60:66, 70:90] = 253
    frames[:, 80:86, 70:90] = 254
    _, dataset, done = cleaned(write_fan(tmp_path / "old.dcm", frames), OneAtATime())
    assert not np.isin(dataset.pixel_array, (253, 254)).any()
    assert done.pixels.searches == 3


def test_text_without_end_is_refused(tmp_path: Path) -> None:
    class Everywhere(BrightBoxReader):
        def find(self, picture: np.ndarray) -> list[object]:  # type: ignore[override]
            self.level = int(picture.max())
            return super().find(picture)  # type: ignore[return-value]

    with pytest.raises(ReadError, match=r"text over most of its ultrasound|text after several searches"):
        clean_instance(write_fan(tmp_path / "old.dcm"), "a.dcm", method(reader=Everywhere()))


def test_where_the_source_showed_something_is_known_in_coarse_squares_only(tmp_path: Path) -> None:
    *_, done = cleaned(write_fan(tmp_path / "old.dcm", with_text(GREY)))
    squares = done.pixels.had_content
    assert squares[0:16, 0:48].all()
    assert not (squares & done.pixels.kept).any()
    alone = squares[:112, :48].reshape(7, 16, 3, 16)
    outside = ~done.pixels.kept[:112, :48].reshape(7, 16, 3, 16)
    for row in range(7):
        for column in range(3):
            square, visible = alone[row, :, column], outside[row, :, column]
            assert not square.any() or np.array_equal(square, visible)
