"""Whole instances in every transfer syntax, compared with the frames that went in; what the header keeps and drops."""

from __future__ import annotations

import traceback
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from drawn_studies import draw_sector
from pydicom import uid
from real_files import real_dicom, unzipped_dicom
from synthetic_dicom import (
    PATIENT,
    PATIENT_ID,
    STUDY_DATE,
    build_dataset,
    encode_video,
    halve_chroma,
    jpeg,
    moving_frames,
    pydicom_encoder,
    recompress_by_gdcm,
    region,
    save,
    to_ybr,
    write_compressed,
    write_native,
    write_video,
)

from echoapex.domain import Clip, ClipHeader, ContentKind, Sector, Spacing
from echoapex.io.clip_source import ClipSource, ReadError, ReadFlag, load_clip
from echoapex.io.dicom.reader import open_dicom
from echoapex.io.dicom.writer import FictitiousStudy, UltrasoundSyntax, write_ultrasound

RGB = moving_frames(3)
GREY = moving_frames(3, colours=1)


def decoded(path: Path) -> np.ndarray:
    return load_clip(open_dicom(path)).frames


def mean_error(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize(
    "syntax",
    [
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    ],
)
class TestNativeSyntaxes:
    def test_grey(self, syntax: str, tmp_path: Path) -> None:
        path = write_native(tmp_path / "a.dcm", GREY, "MONOCHROME2", syntax)
        assert np.array_equal(decoded(path), GREY)

    def test_inverted_grey(self, syntax: str, tmp_path: Path) -> None:
        path = write_native(tmp_path / "a.dcm", GREY, "MONOCHROME1", syntax)
        assert np.array_equal(decoded(path), 255 - GREY)

    @pytest.mark.parametrize("planar", [0, 1])
    def test_rgb(self, syntax: str, planar: int, tmp_path: Path) -> None:
        path = write_native(tmp_path / "a.dcm", RGB, "RGB", syntax, planar)
        assert np.array_equal(decoded(path), RGB)

    @pytest.mark.parametrize("planar", [0, 1])
    def test_full_chroma(self, syntax: str, planar: int, tmp_path: Path) -> None:
        path = write_native(tmp_path / "a.dcm", to_ybr(RGB), "YBR_FULL", syntax, planar)
        assert mean_error(decoded(path), RGB) < 1

    def test_shared_chroma(self, syntax: str, tmp_path: Path) -> None:
        dataset = build_dataset(RGB, "YBR_FULL_422")
        dataset.PixelData = halve_chroma(to_ybr(RGB)).tobytes()
        dataset["PixelData"].VR = "OB"
        assert mean_error(decoded(save(tmp_path / "a.dcm", dataset, syntax)), RGB) < 8

    def test_deep_grey_is_mapped_to_8_bit(self, syntax: str, tmp_path: Path) -> None:
        deep = GREY.astype(np.uint16) * 16
        path = write_native(tmp_path / "a.dcm", deep, "MONOCHROME2", syntax, BitsStored=12, HighBit=11)
        source = open_dicom(path)
        assert ReadFlag.RESCALED_TO_8_BIT in source.header.flags
        assert np.abs(load_clip(source).frames.astype(int) - GREY).max() <= 1

    def test_palette(self, syntax: str, tmp_path: Path) -> None:
        table = np.stack([np.arange(256), np.arange(255, -1, -1), np.full(256, 7)], axis=1).astype(np.uint8)
        path = write_native(tmp_path / "a.dcm", GREY, "PALETTE COLOR", syntax, **palette_elements(table, syntax))
        assert np.array_equal(decoded(path), table[GREY])


def palette_elements(table: np.ndarray, syntax: str) -> dict[str, object]:
    order = ">u2" if syntax == uid.ExplicitVRBigEndian else "<u2"
    elements: dict[str, object] = {}
    for colour, column in zip(("Red", "Green", "Blue"), table.T, strict=True):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        elements[f"{colour}PaletteColorLookupTableData"] = (column.astype(np.uint16) * 257).astype(order).tobytes()
    return elements


LOSSLESS = [
    (uid.RLELossless, "pylibjpeg", "MONOCHROME2", GREY),
    (uid.RLELossless, "pylibjpeg", "RGB", RGB),
    (uid.JPEGLSLossless, "pyjpegls", "MONOCHROME2", GREY),
    (uid.JPEGLSLossless, "pyjpegls", "RGB", RGB),
    (uid.JPEG2000Lossless, "pylibjpeg", "MONOCHROME2", GREY),
    (uid.JPEG2000Lossless, "pylibjpeg", "RGB", RGB),
]


@pytest.mark.parametrize(("syntax", "plugin", "photometric", "frames"), LOSSLESS)
def test_lossless_compression_is_exact(
    syntax: str, plugin: str, photometric: str, frames: np.ndarray, tmp_path: Path
) -> None:
    encode = pydicom_encoder(syntax, photometric, plugin)
    path = write_compressed(tmp_path / "a.dcm", frames, photometric, syntax, [encode(frame) for frame in frames])
    assert np.array_equal(decoded(path), frames)


def test_jpeg_2000_with_reversible_colours(tmp_path: Path) -> None:
    encode = pydicom_encoder(uid.JPEG2000Lossless, "YBR_RCT", "pylibjpeg", use_mct=True)
    path = write_compressed(tmp_path / "a.dcm", RGB, "YBR_RCT", uid.JPEG2000Lossless, [encode(f) for f in RGB])
    assert np.array_equal(decoded(path), RGB)


def test_jpeg_2000_with_irreversible_colours(tmp_path: Path) -> None:
    encode = pydicom_encoder(uid.JPEG2000, "YBR_ICT", "pylibjpeg", use_mct=True, j2k_psnr=[50])
    path = write_compressed(tmp_path / "a.dcm", RGB, "YBR_ICT", uid.JPEG2000, [encode(f) for f in RGB])
    assert mean_error(decoded(path), RGB) < 2


def test_near_lossless_jpeg_ls(tmp_path: Path) -> None:
    encode = pydicom_encoder(uid.JPEGLSNearLossless, "MONOCHROME2", "pyjpegls", jls_error=2)
    pictures = [encode(frame) for frame in GREY]
    path = write_compressed(tmp_path / "a.dcm", GREY, "MONOCHROME2", uid.JPEGLSNearLossless, pictures)
    assert np.abs(decoded(path).astype(int) - GREY).max() <= 2


def test_rle_with_full_chroma(tmp_path: Path) -> None:
    encode = pydicom_encoder(uid.RLELossless, "YBR_FULL", "pylibjpeg")
    path = write_compressed(
        tmp_path / "a.dcm", RGB, "YBR_FULL", uid.RLELossless, [encode(f) for f in to_ybr(RGB)], PlanarConfiguration=1
    )
    assert mean_error(decoded(path), RGB) < 1


@pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit])
@pytest.mark.parametrize(
    ("photometric", "subsampling", "tolerance"), [("YBR_FULL", "444", 2), ("YBR_FULL_422", "422", 4)]
)
def test_jpeg(syntax: str, photometric: str, subsampling: str, tolerance: float, tmp_path: Path) -> None:
    pictures = [jpeg(frame, subsampling) for frame in RGB]
    path = write_compressed(tmp_path / "a.dcm", RGB, photometric, syntax, pictures)
    assert mean_error(decoded(path), RGB) < tolerance


@pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit])
def test_grey_jpeg(syntax: str, tmp_path: Path) -> None:
    path = write_compressed(tmp_path / "a.dcm", GREY, "MONOCHROME2", syntax, [jpeg(frame) for frame in GREY])
    assert mean_error(decoded(path), GREY) < 2


@pytest.mark.parametrize(
    ("kind", "syntax"),
    [
        (gdcm.TransferSyntax.JPEGLosslessProcess14, uid.JPEGLossless),
        (gdcm.TransferSyntax.JPEGLosslessProcess14_1, uid.JPEGLosslessSV1),
    ],
)
@pytest.mark.parametrize(("frames", "photometric"), [(GREY, "MONOCHROME2"), (RGB, "RGB")])
def test_lossless_jpeg(kind: int, syntax: str, frames: np.ndarray, photometric: str, tmp_path: Path) -> None:
    native = write_native(tmp_path / "native.dcm", frames, photometric)
    path = recompress_by_gdcm(native, tmp_path / "a.dcm", kind)
    assert pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(decoded(path), frames)


@pytest.mark.parametrize(
    ("syntax", "codec", "container"),
    [
        (uid.MPEG2MPML, "mpeg2video", "mpegts"),
        (uid.MPEG4HP41, "libx264", "mp4"),
        (uid.MPEG4HP41, "libx264", "h264"),
        (uid.HEVCMP51, "libx265", "mp4"),
    ],
)
def test_video(syntax: str, codec: str, container: str, tmp_path: Path) -> None:
    frames = moving_frames(12, 96, 128)
    path = write_video(tmp_path / "a.dcm", frames, syntax, encode_video(frames, codec, container))
    source = open_dicom(path)
    assert source.header.frame_count == 12
    assert not source.header.flags
    assert mean_error(load_clip(source).frames, frames) < 12
    assert np.array_equal(load_clip(source).frames[5], list(source.frames())[5])  # restartable


def test_frames_of_a_video_count_not_the_header(tmp_path: Path) -> None:
    frames = moving_frames(12, 96, 128)
    stream = encode_video(frames, "libx264", "mp4")
    header = open_dicom(write_video(tmp_path / "a.dcm", frames, uid.MPEG4HP41, stream, NumberOfFrames=30)).header
    assert header.frame_count == 12
    assert ReadFlag.FRAME_COUNT_DISAGREES in header.flags


def test_frames_can_be_streamed_twice(tmp_path: Path) -> None:
    source = open_dicom(write_native(tmp_path / "a.dcm", GREY, "MONOCHROME2"))
    first, second = source.frames(), source.frames()
    assert np.array_equal(next(first), GREY[0])
    assert np.array_equal(next(second), GREY[0])
    assert np.array_equal(next(first), GREY[1])
    assert isinstance(source, ClipSource)


def test_no_identifier_stays_in_the_header(tmp_path: Path) -> None:
    path = write_native(tmp_path / f"{PATIENT}.dcm", GREY, "MONOCHROME2", PatientSex="F", PatientSize=1.7)
    header = open_dicom(path).header
    everything = repr(header)
    for secret in ("Quartz", "Aurelia", PATIENT_ID, STUDY_DATE, str(pydicom.dcmread(path).StudyInstanceUID)):
        assert secret not in everything
    assert (header.patient_sex, header.patient_height_m, header.patient_weight_kg) == ("F", 1.7, None)
    assert len(header.source["sha256"]) == 64


def test_identifiers_stay_when_asked_for(tmp_path: Path) -> None:
    path = write_native(tmp_path / "a.dcm", GREY, "MONOCHROME2")
    source = open_dicom(path, keep_identifiers=True).header.source
    assert (source["PatientName"], source["PatientID"], source["StudyDate"]) == (PATIENT, PATIENT_ID, STUDY_DATE)


def test_instances_of_one_study_share_its_pseudonym(tmp_path: Path) -> None:
    a = open_dicom(write_native(tmp_path / "a.dcm", GREY, "MONOCHROME2")).header
    b = open_dicom(write_native(tmp_path / "b.dcm", GREY[:2], "MONOCHROME2")).header
    keyed = open_dicom(tmp_path / "a.dcm", pseudonym_key=b"secret").header
    assert a.source["study"] == b.source["study"]
    assert a.clip_id != b.clip_id
    assert keyed.source["study"] != a.source["study"]


def test_times_calibration_and_content_reach_the_header(tmp_path: Path) -> None:
    header = open_dicom(
        write_native(
            tmp_path / "a.dcm",
            draw_sector((96, 128)),
            "MONOCHROME2",
            FrameTime="25",
            HeartRate="0",
            RWaveTimeVector=[10.0, 910.0],
            SequenceOfUltrasoundRegions=[region((2, 2, 125, 93), (0.02, 0.03))],
        )
    ).header
    assert header.frame_times_s == (0.0, 0.025, 0.05)
    assert header.spacing is not None
    assert (header.spacing.row_mm, header.spacing.column_mm) == pytest.approx((0.3, 0.2))
    assert header.r_wave_times_s == (0.01, 0.91)
    assert header.heart_rate_bpm is None
    assert header.content is ContentKind.B_MODE


@pytest.mark.parametrize("syntax", list(UltrasoundSyntax))
def test_what_our_writer_writes_is_read_back(syntax: UltrasoundSyntax, tmp_path: Path) -> None:
    written = ClipHeader(
        "w",
        (48, 64),
        (0.0, 0.02, 0.05),
        spacing=Spacing(row_mm=0.3, column_mm=0.2),
        sector=Sector((4.0, 2.0, 60.0, 46.0)),
        r_wave_times_s=(0.01,),
        heart_rate_bpm=66.0,
    )
    study = FictitiousStudy(7, sex="F", height_m=1.7, weight_kg=70.0)
    path = write_ultrasound(tmp_path / "w.dcm", Clip(written, GREY), study, syntax=syntax)
    source = open_dicom(path)
    header = source.header
    assert header.frame_times_s == pytest.approx(written.frame_times_s, abs=1e-5)
    assert header.spacing is not None and header.spacing.row_mm == pytest.approx(0.3)
    assert header.spacing.column_mm == pytest.approx(0.2)
    assert (header.r_wave_times_s, header.heart_rate_bpm) == (pytest.approx((0.01,)), 66.0)
    assert (header.patient_sex, header.patient_height_m, header.patient_weight_kg) == ("F", 1.7, 70.0)
    assert not header.flags
    assert mean_error(load_clip(source).frames, GREY) < (2 if syntax is UltrasoundSyntax.JPEG_BASELINE else 0.001)


def test_a_file_that_is_missing_or_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / f"{PATIENT}.dcm", tmp_path):
        with pytest.raises(ReadError) as caught:
            open_dicom(path)
        assert "Quartz" not in str(caught.value)
        assert "Quartz" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "name",
    [
        *("US1_UNCR.dcm", "US1_J2KR.dcm", "US1_J2KI.dcm", "color-pl.dcm", "color-px.dcm", "color3d_jpeg_baseline.dcm"),
        *("JPGLosslessP14SV1_1s_1f_8b.dcm", "SC_rgb_rle_2frame.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_gdcm.dcm"),
        *(
            "SC_jpeg_no_color_transform.dcm",
            "SC_rgb_dcmtk_+eb+cr.dcm",
            "SC_rgb_dcmtk_+eb+cy+s4.dcm",
            "examples_rgb_color.dcm",
        ),
        *(
            "SC_ybr_full_422_uncompressed.dcm",
            "SC_rgb_jls_lossy_line.dcm",
            "examples_jpeg2k.dcm",
            "SC_rgb_small_odd.dcm",
        ),
        *(
            "SC_rgb_small_odd_jpeg.dcm",
            "SC_rgb_jpeg_app14_dcmd.dcm",
            "SC_rgb_expb_2frame.dcm",
            "SC_ybr_full_uncompressed.dcm",
        ),
    ],
)
def test_real_files_decode_as_pydicom_decodes_them(name: str) -> None:
    path = real_dicom(name)
    expected = pydicom.pixels.pixel_array(path, index=0)
    assert np.array_equal(next(open_dicom(path).frames()), expected)


@pytest.mark.parametrize(
    "name", ["OBXXXX1A.dcm", "OBXXXX1A_rle.dcm", "OBXXXX1A_expb_2frame.dcm", "gdcm-US-ALOKA-16_big.dcm"]
)
def test_real_palettes(name: str) -> None:
    path = real_dicom(name)
    dataset = pydicom.dcmread(path)
    expected = pydicom.pixels.apply_color_lut(pydicom.pixels.pixel_array(path, index=0), dataset)
    expected = expected >> 8 if expected.max() > 255 else expected
    assert np.array_equal(next(open_dicom(path).frames()), expected)


def test_the_caliper_of_a_real_still_measures_what_the_machine_printed() -> None:
    spacing = open_dicom(real_dicom("JPGLosslessP14SV1_1s_1f_8b.dcm")).header.spacing
    assert spacing is not None
    distance_mm = spacing.distance_mm(np.array([629.0, 319.0]), np.array([689.0, 435.0]))
    assert distance_mm == pytest.approx(33.27, abs=0.01)


def test_the_real_apical_loop() -> None:
    header = open_dicom(real_dicom("color3d_jpeg_baseline.dcm")).header
    assert header.frame_count == 120
    assert header.frame_times_s[1] == pytest.approx(0.033333)
    assert header.heart_rate_bpm is None
    assert header.content is ContentKind.B_MODE
    assert header.colour_box_xyxy is None
    assert header.spacing is not None and header.spacing.row_mm == pytest.approx(0.5105, abs=1e-4)


def test_the_half_size_copy_of_the_loop_is_corrected_with_a_flag() -> None:
    header = open_dicom(real_dicom("examples_ybr_color.dcm")).header
    assert ReadFlag.CORRECTED_SPACING in header.flags
    assert header.spacing is not None and header.spacing.row_mm == pytest.approx(1.0210, abs=1e-4)


def test_the_real_colour_clip() -> None:
    header = open_dicom(real_dicom("ultrasound-multiframe.dcm")).header
    assert header.content is ContentKind.COLOUR_DOPPLER
    assert header.spacing is not None and header.spacing.row_mm == pytest.approx(0.3076, abs=1e-4)
    assert header.frame_times_s[1] == pytest.approx(0.054241)
    assert header.colour_box_xyxy is not None
    assert np.abs(np.array(header.colour_box_xyxy) - (341, 283, 566, 488)).max() < 16  # the box drawn in the image


def test_fictitious_names_in_the_pixels_of_a_real_clip_are_outside_its_frames_header(tmp_path: Path) -> None:
    header = open_dicom(unzipped_dicom("GREYSCALE_CINE.zip", tmp_path)).header
    assert header.frame_count == 27
    assert header.sector is None  # a linear array: nothing of it is shown
    assert "small parts" in header.content_reason


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm"])
def test_other_modalities_are_set_aside(name: str) -> None:
    header = open_dicom(real_dicom(name)).header
    assert header.content is ContentKind.NOT_ECHO
    assert "not ultrasound" in header.content_reason


@pytest.mark.parametrize("name", ["reportsi.dcm", "test-SR.dcm", "rtplan.dcm", "waveform_ecg.dcm"])
def test_objects_without_pixels_are_refused(name: str) -> None:
    with pytest.raises(ReadError, match="holds no image"):
        open_dicom(real_dicom(name))
