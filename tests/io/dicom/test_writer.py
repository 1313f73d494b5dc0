"""Written ultrasound DICOM: valid modules, exact or near pixels, the same bytes twice, nobody's name."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from echoapex.domain import Clip, ClipHeader, Ecg, EcgOrigin, Sector, Spacing
from echoapex.io.dicom.reader import open_dicom
from echoapex.io.dicom.writer import (
    FictitiousStudy,
    UltrasoundSyntax,
    UnwritableClipError,
    derive_uid,
    write_ultrasound,
)

SIZE = (61, 83)
EVEN_TIMES_S = tuple(frame / 48 for frame in range(6))
UNEVEN_TIMES_S = (0.0, 0.02, 0.05, 0.06, 0.1, 0.12)
STUDY = FictitiousStudy(42, sex="F", age_years=57, height_m=1.68, weight_kg=70.25)


def smooth_frames(count: int = 6, colour: bool = False) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    frames = [127 + 120 * np.sin(rows / 9 + frame) * np.cos(columns / 11) for frame in range(count)]
    grey = np.stack(frames).astype(np.uint8)
    return np.stack([grey, grey[:, ::-1], 255 - grey], axis=-1) if colour else grey


def make_clip(times: tuple[float, ...] = EVEN_TIMES_S, *, colour: bool = False, calibrated: bool = True) -> Clip:
    header = ClipHeader(
        "clip",
        SIZE,
        times,
        spacing=Spacing(0.41, 0.52) if calibrated else None,
        spacing_reason="" if calibrated else "no region",
        sector=Sector((4.2, 2.0, 79.9, 59.0)),
        colour_box_xyxy=(20, 10, 40, 30) if colour else None,
        r_wave_times_s=(0.01, 0.09),
        heart_rate_bpm=71.6,
    )
    return Clip(header, smooth_frames(len(times), colour))


@pytest.mark.parametrize("syntax", list(UltrasoundSyntax))
@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
@pytest.mark.parametrize("times", [EVEN_TIMES_S, (0.0,)], ids=["cine", "still"])
def test_pixels_come_back(tmp_path: Path, syntax: UltrasoundSyntax, colour: bool, times: tuple[float, ...]) -> None:
    clip = make_clip(times, colour=colour)
    dataset = pydicom.dcmread(write_ultrasound(tmp_path / "clip.dcm", clip, STUDY, syntax=syntax))
    pixels = dataset.pixel_array.reshape(clip.frames.shape).astype(int)
    error = np.abs(pixels - clip.frames)
    assert dataset.file_meta.TransferSyntaxUID == syntax.uid
    if syntax is UltrasoundSyntax.JPEG_BASELINE:
        # halved chroma costs colour images more than the quantisation alone
        assert error.mean() < (4 if colour else 1)
        assert dataset.LossyImageCompression == "01"
        assert float(dataset.LossyImageCompressionRatio) > 1
    else:
        assert error.max() == 0
        assert dataset.LossyImageCompression == "00"


def test_storage_class_follows_the_number_of_frames(tmp_path: Path) -> None:
    cine = pydicom.dcmread(write_ultrasound(tmp_path / "cine.dcm", make_clip(), STUDY))
    still = pydicom.dcmread(write_ultrasound(tmp_path / "still.dcm", make_clip((0.0,)), STUDY))
    assert cine.SOPClassUID == "1.2.840.10008.5.1.4.1.1.3.1"
    assert still.SOPClassUID == "1.2.840.10008.5.1.4.1.1.6.1"
    assert cine.NumberOfFrames == 6
    assert "NumberOfFrames" not in still
    assert "FrameTime" not in still


def test_region_is_calibrated_in_cm_and_fits_the_sector(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write_ultrasound(tmp_path / "clip.dcm", make_clip(), STUDY))
    (region,) = dataset.SequenceOfUltrasoundRegions
    assert (region.RegionSpatialFormat, region.RegionDataType) == (1, 1)
    assert (region.PhysicalUnitsXDirection, region.PhysicalUnitsYDirection) == (3, 3)
    assert region.PhysicalDeltaX == pytest.approx(0.052)
    assert region.PhysicalDeltaY == pytest.approx(0.041)
    corners = (region.RegionLocationMinX0, region.RegionLocationMinY0)
    assert corners == (4, 2)
    assert (region.RegionLocationMaxX1, region.RegionLocationMaxY1) == (79, 58)


def test_colour_box_is_a_second_region(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write_ultrasound(tmp_path / "clip.dcm", make_clip(colour=True), STUDY))
    tissue, colour = dataset.SequenceOfUltrasoundRegions
    assert (tissue.RegionDataType, colour.RegionDataType) == (1, 2)
    assert (colour.RegionLocationMinX0, colour.RegionLocationMaxX1) == (20, 39)
    assert dataset.UltrasoundColorDataPresent == 1


def test_an_uncalibrated_clip_gets_no_region(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write_ultrasound(tmp_path / "clip.dcm", make_clip(calibrated=False), STUDY))
    assert "SequenceOfUltrasoundRegions" not in dataset


def test_even_times_are_one_frame_time(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write_ultrasound(tmp_path / "clip.dcm", make_clip(), STUDY))
    assert dataset.FrameIncrementPointer == pydicom.tag.Tag("FrameTime")
    assert float(dataset.FrameTime) == pytest.approx(1000 / 48, abs=1e-5)
    assert dataset.CineRate == 48
    assert dataset.HeartRate == 72
    assert list(dataset.RWaveTimeVector) == pytest.approx([10, 90])


def test_uneven_times_are_a_vector_of_steps(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write_ultrasound(tmp_path / "clip.dcm", make_clip(UNEVEN_TIMES_S), STUDY))
    assert dataset.FrameIncrementPointer == pydicom.tag.Tag("FrameTimeVector")
    steps_ms = [float(step) for step in dataset.FrameTimeVector]
    assert np.cumsum(steps_ms) / 1000 == pytest.approx(UNEVEN_TIMES_S, abs=1e-6)
    assert "FrameTime" not in dataset


@pytest.mark.parametrize("syntax", list(UltrasoundSyntax))
def test_same_input_same_bytes(tmp_path: Path, syntax: UltrasoundSyntax) -> None:
    paths = [write_ultrasound(tmp_path / name, make_clip(), STUDY, syntax=syntax) for name in ("a.dcm", "b.dcm")]
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    assert len(digests) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.dcm", "b.dcm"]


def test_instances_share_a_study_and_differ(tmp_path: Path) -> None:
    first, second = (
        pydicom.dcmread(write_ultrasound(tmp_path / f"{number}.dcm", make_clip(), STUDY, instance=number))
        for number in (1, 2)
    )
    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    other = FictitiousStudy(43)
    assert other.uid("study") != STUDY.uid("study")


def test_uids_are_valid_and_fixed() -> None:
    uid = derive_uid("PHANTOM", 1, "study")
    assert uid.is_valid
    assert uid.startswith("2.25.")
    assert uid == derive_uid("PHANTOM", 1, "study")
    assert derive_uid("a", "bc") != derive_uid("ab", "c")


def test_patient_is_fictitious_and_complete(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write_ultrasound(tmp_path / "clip.dcm", make_clip(), STUDY))
    assert dataset.PatientName == "PHANTOM^0042"
    assert (dataset.PatientSex, dataset.PatientAge) == ("F", "057Y")
    assert float(dataset.PatientSize) == pytest.approx(1.68)
    assert float(dataset.PatientWeight) == pytest.approx(70.25)
    assert dataset.StudyDate == "20000101"


@pytest.mark.parametrize(
    "values", [{"number": -1}, {"number": 1, "sex": "x"}, {"number": 1, "height_m": 0}, {"number": 1, "origin": "REAL"}]
)
def test_impossible_patients_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(UnwritableClipError):
        FictitiousStudy(**values)  # type: ignore[arg-type]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydicom.Dataset, "save_as", _fail_half_way)
    with pytest.raises(OSError, match="disk full"):
        write_ultrasound(tmp_path / "clip.dcm", make_clip(), STUDY)
    assert not list(tmp_path.iterdir())


def _fail_half_way(_dataset: pydicom.Dataset, path: Path, **_options: object) -> None:
    path.write_bytes(b"DICM")
    raise OSError("disk full")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian package dicom3tools) is not installed")
@pytest.mark.parametrize("times", [EVEN_TIMES_S, UNEVEN_TIMES_S, (0.0,)])
def test_dciodvfy_finds_no_fault(tmp_path: Path, times: tuple[float, ...]) -> None:
    path = write_ultrasound(tmp_path / "clip.dcm", make_clip(times), STUDY)
    verdict = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    lines = (verdict.stdout + verdict.stderr).splitlines()
    assert not [line for line in lines if line.startswith(("Error", "Warning"))]


@pytest.mark.parametrize("unit", ["mV", ""])
def test_an_ecg_is_a_waveform_that_is_read_back(tmp_path: Path, unit: str) -> None:
    samples = np.sin(np.arange(90) / 7) * (0.8 if unit else 900)
    ecg = Ecg(samples, -0.02, 500.0, unit, EcgOrigin.WAVEFORM)
    clip = make_clip()
    clip = Clip(replace(clip.header, ecg=ecg), clip.frames)
    dataset = pydicom.dcmread(write_ultrasound(tmp_path / "clip.dcm", clip, STUDY))
    (group,) = dataset.WaveformSequence
    assert (group.NumberOfWaveformChannels, group.NumberOfWaveformSamples) == (1, 90)
    assert float(group.MultiplexGroupTimeOffset) == -20
    found = open_dicom(tmp_path / "clip.dcm").header.ecg
    assert found is not None
    assert (found.start_s, found.rate_hz, found.unit, found.origin) == (-0.02, 500.0, unit, EcgOrigin.WAVEFORM)
    scale = 1.0 if unit else np.abs(found.samples).max() / np.abs(samples).max()
    assert found.samples == pytest.approx(samples * scale, abs=1e-4 * np.abs(samples).max() * scale)
    assert "WaveformSequence" not in pydicom.dcmread(write_ultrasound(tmp_path / "plain.dcm", make_clip(), STUDY))
