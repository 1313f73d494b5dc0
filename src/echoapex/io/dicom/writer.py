"""Write clips of fictitious patients as valid ultrasound DICOM: phantom studies and re-packed public benchmarks.

Writes Ultrasound Multi-frame Image Storage (for a single frame: Ultrasound Image Storage) after DICOM PS3.3 A.6 and
A.7. All names, dates and UIDs follow from :class:`FictitiousStudy`, which has no field for a real identifier. The clock
is not used: the same input gives the same bytes. The view is never written, because readers are expected to find it.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import simplejpeg
from jaxtyping import UInt8
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from echoapex.domain import Clip, ClipHeader, Ecg, Sector
from echoapex.domain.clip import Size, Spacing
from echoapex.io.temporary_files import replace_when_complete
from echoapex.version import __version__

JPEG_QUALITY = 95
_MULTI_FRAME_STORAGE = UID("1.2.840.10008.5.1.4.1.1.3.1")
_SINGLE_FRAME_STORAGE = UID("1.2.840.10008.5.1.4.1.1.6.1")
_STUDY_DATE, _STUDY_TIME, _STUDY_YEAR = "20000101", "120000", 2000
_FRAME_TIME, _FRAME_TIME_VECTOR = Tag("FrameTime"), Tag("FrameTimeVector")
_UNIFORM_TOLERANCE_S = 1e-5
# PS3.3 table C.8-17, Region Flags: bit 0 is lower priority, bit 1 is protected; 0 is a plain, opaque region.
_REGION_FLAGS = 0
_SPATIAL_2D, _DATA_TISSUE, _DATA_COLOUR_FLOW, _UNIT_CM = 1, 1, 2, 3


_LEAD_II = ("2:2", "MDC", "Lead II")
_VOLTS = {"mV": "millivolt", "uV": "microvolt", "V": "volt"}
_LARGEST_SAMPLE = 32_000


class UltrasoundSyntax(StrEnum):
    """Transfer syntaxes that the writer supports."""

    JPEG_BASELINE = "jpeg"
    EXPLICIT = "raw"
    RLE = "rle"

    @property
    def uid(self) -> UID:
        """The UID of the transfer syntax."""
        return {
            UltrasoundSyntax.JPEG_BASELINE: JPEGBaseline8Bit,
            UltrasoundSyntax.EXPLICIT: ExplicitVRLittleEndian,
            UltrasoundSyntax.RLE: RLELossless,
        }[self]


class UnwritableClipError(ValueError):
    """A clip or a study description that cannot become valid DICOM; the message says what to change."""


@dataclass(frozen=True)
class FictitiousStudy:
    """A patient and a study that do not exist; names, IDs and UIDs are derived from ``origin`` and ``number``.

    Attributes:
        number: distinguishes the studies of one origin; PatientName becomes ``PHANTOM^0042``.
        origin: ``PHANTOM`` for simulated clips, ``BENCHMARK`` for public images packed again for evaluation.
        sex: ``M``, ``F`` or ``""`` (unknown).
        age_years: age at the (fixed) study date, or None.
        height_m: patient's height in metres, or None.
        weight_kg: patient's weight in kilograms, or None.
        scanner: what made the images; written as the model name.
        software: version of the software that made the images.

    Raises:
        UnwritableClipError: a value is impossible.
    """

    number: int
    origin: Literal["PHANTOM", "BENCHMARK"] = "PHANTOM"
    sex: Literal["M", "F", ""] = ""
    age_years: int | None = None
    height_m: float | None = None
    weight_kg: float | None = None
    scanner: str = "simulator"
    software: str = __version__

    def __post_init__(self) -> None:
        if self.origin not in ("PHANTOM", "BENCHMARK"):
            raise UnwritableClipError(f"origin {self.origin!r}: only PHANTOM and BENCHMARK patients may be written")
        if self.number < 0:
            raise UnwritableClipError(f"study number {self.number} is negative; use 0 or more")
        if self.sex not in ("M", "F", ""):
            raise UnwritableClipError(f"sex {self.sex!r} is none of M, F and '' (unknown)")
        for name in ("age_years", "height_m", "weight_kg"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UnwritableClipError(f"{name} {value!r} must be positive, or None when it is unknown")

    @property
    def patient_name(self) -> str:
        """PatientName, for example ``PHANTOM^0042``."""
        return f"{self.origin}^{self.number:04d}"

    def uid(self, *parts: object) -> UID:
        """A UID under the UUID root 2.25 (PS3.5 B.2); the same study and parts give the same UID."""
        return derive_uid(self.origin, self.number, *parts)


def derive_uid(*parts: object) -> UID:
    """A UID under the UUID root 2.25 from the SHA-256 of ``parts``; equal parts give equal UIDs."""
    digest = hashlib.sha256("\x1f".join(map(str, ("echoapex", *parts))).encode()).digest()
    return UID(f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}")


def write_ultrasound(
    path: Path,
    clip: Clip,
    study: FictitiousStudy,
    *,
    instance: int = 1,
    syntax: UltrasoundSyntax = UltrasoundSyntax.JPEG_BASELINE,
) -> Path:
    """Write ``clip`` as one ultrasound instance; an interrupted write leaves no file.

    Grey frames become MONOCHROME2, colour frames RGB (YBR_FULL_422 under JPEG). JPEG baseline (quality 95) is what
    ultrasound machines store; the other syntaxes are lossless.

    Args:
        path: the file to write; its folder is made if it is missing.
        clip: frames and header; spacing, sector, times, R waves, ECG and heart rate are written if they are known.
        study: the fictitious patient and study; instances of one study share its UIDs.
        instance: InstanceNumber; instances of one study must differ in it, because the UID is derived from it.
        syntax: how the pixels are stored.

    Returns:
        ``path``.

    Raises:
        UnwritableClipError: the clip cannot be stored in this SOP class.
    """
    if instance < 1:
        raise UnwritableClipError(f"{path.name}: instance number {instance} must be 1 or more")
    dataset = build_ultrasound_dataset(clip, study, instance, syntax)
    with replace_when_complete(path) as partial:
        dataset.save_as(partial, enforce_file_format=True)
    return path


def build_ultrasound_dataset(clip: Clip, study: FictitiousStudy, instance: int, syntax: UltrasoundSyntax) -> Dataset:
    """The data set that :func:`write_ultrasound` writes, with its file meta information."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    multi_frame = clip.header.frame_count > 1
    dataset.SOPClassUID = _MULTI_FRAME_STORAGE if multi_frame else _SINGLE_FRAME_STORAGE
    dataset.SOPInstanceUID = study.uid("instance", instance)
    dataset.file_meta = _file_meta(dataset, syntax)
    _add_patient_and_study(dataset, study)
    _add_series_and_equipment(dataset, study, instance)
    if multi_frame:
        _add_cine(dataset, clip.header)
    _add_cardiac_cycle(dataset, clip.header)
    if clip.header.ecg is not None:
        _add_ecg(dataset, clip.header.ecg, clip.header.frame_times_s[0])
    _add_regions(dataset, clip)
    _add_pixels(dataset, clip.frames, syntax)
    return dataset


def _file_meta(dataset: Dataset, syntax: UltrasoundSyntax) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax.uid
    meta.ImplementationClassUID = derive_uid("implementation")
    meta.ImplementationVersionName = "ECHOAPEX"
    return meta


def _add_patient_and_study(dataset: Dataset, study: FictitiousStudy) -> None:
    dataset.PatientName = study.patient_name
    dataset.PatientID = f"{study.origin}-{study.number:06d}"
    dataset.PatientSex = study.sex
    dataset.PatientBirthDate = "" if study.age_years is None else f"{_STUDY_YEAR - study.age_years:04d}0101"
    dataset.PatientComments = "Fictitious patient; not for clinical use."
    if study.age_years is not None:
        dataset.PatientAge = f"{study.age_years:03d}Y"
    if study.height_m is not None:
        dataset.PatientSize = f"{study.height_m:.3f}"
    if study.weight_kg is not None:
        dataset.PatientWeight = f"{study.weight_kg:.2f}"
    dataset.StudyInstanceUID = study.uid("study")
    dataset.StudyDate, dataset.StudyTime = _STUDY_DATE, _STUDY_TIME
    dataset.StudyID = str(study.number)
    dataset.StudyDescription = "Synthetic echocardiogram" if study.origin == "PHANTOM" else "Public benchmark images"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""


def _add_series_and_equipment(dataset: Dataset, study: FictitiousStudy, instance: int) -> None:
    dataset.Modality = "US"
    dataset.BodyPartExamined = "HEART"
    dataset.SeriesInstanceUID = study.uid("series")
    dataset.SeriesNumber = 1
    dataset.SeriesDate, dataset.SeriesTime = _STUDY_DATE, _STUDY_TIME
    dataset.Manufacturer = "EchoApex"
    dataset.ManufacturerModelName = study.scanner
    dataset.DeviceSerialNumber = "0"
    dataset.SoftwareVersions = study.software
    dataset.InstanceNumber = instance
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.PatientOrientation = ""
    dataset.ContentDate, dataset.ContentTime = _STUDY_DATE, _STUDY_TIME
    dataset.BurnedInAnnotation = "NO"


def _add_cine(dataset: Dataset, header: ClipHeader) -> None:
    """Cine and Multi-frame modules: FrameTime if the frames are evenly spaced, else FrameTimeVector."""
    times = np.asarray(header.frame_times_s, dtype=float)
    steps_s = np.diff(times)
    mean_s = float(steps_s.mean())
    rate_hz = max(1, round(1 / mean_s))
    if np.abs(times - times[0] - mean_s * np.arange(times.size)).max() <= _UNIFORM_TOLERANCE_S:
        dataset.FrameTime = f"{1000 * mean_s:.6f}"
        dataset.FrameIncrementPointer = _FRAME_TIME
    else:
        dataset.FrameTimeVector = ["0", *(f"{1000 * step:.6f}" for step in steps_s)]
        dataset.FrameIncrementPointer = _FRAME_TIME_VECTOR
    dataset.NumberOfFrames = times.size
    dataset.CineRate = rate_hz
    dataset.RecommendedDisplayFrameRate = rate_hz
    dataset.EffectiveDuration = f"{mean_s * times.size:.6f}"
    dataset.PreferredPlaybackSequencing = 0


def _add_cardiac_cycle(dataset: Dataset, header: ClipHeader) -> None:
    if header.heart_rate_bpm is not None:
        dataset.HeartRate = round(header.heart_rate_bpm)
    if header.r_wave_times_s:
        dataset.RWaveTimeVector = [1000.0 * (time - header.frame_times_s[0]) for time in header.r_wave_times_s]


def _add_ecg(dataset: Dataset, ecg: Ecg, first_frame_s: float) -> None:
    """WaveformSequence (PS3.3 C.10.9) with one channel of 16 bits; its time counts from the first frame."""
    largest = float(np.abs(ecg.samples).max()) or 1.0
    source, unit = Dataset(), Dataset()
    source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = _LEAD_II
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = ecg.unit, "UCUM", _VOLTS.get(ecg.unit, ecg.unit)
    channel = Dataset()
    channel.ChannelLabel = "ECG"
    channel.ChannelSourceSequence = [source]
    if ecg.unit:
        channel.ChannelSensitivity = f"{largest / _LARGEST_SAMPLE:.9g}"
        channel.ChannelSensitivityUnitsSequence = [unit]
        channel.ChannelSensitivityCorrectionFactor, channel.ChannelBaseline = "1", "0"
    channel.ChannelSampleSkew = "0"
    channel.WaveformBitsStored = 16
    group = Dataset()
    group.MultiplexGroupTimeOffset = f"{1000 * (ecg.start_s - first_frame_s):.6f}"
    group.WaveformOriginality = "ORIGINAL"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = 1, ecg.samples.size
    group.SamplingFrequency = f"{ecg.rate_hz:.9g}"
    group.ChannelDefinitionSequence = [channel]
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    levels = np.rint(ecg.samples.astype(float) / largest * _LARGEST_SAMPLE).astype("<i2")
    group.add_new(Tag("WaveformData"), "OW", levels.tobytes())
    dataset.WaveformSequence = [group]


def _add_regions(dataset: Dataset, clip: Clip) -> None:
    """US Region Calibration module (PS3.3 C.8.5.5): one 2D region in cm, only if the clip is calibrated."""
    spacing = clip.header.spacing
    if spacing is None:
        return
    regions = [_region(clip.header.sector, clip.header.size, spacing, _DATA_TISSUE)]
    box = clip.header.colour_box_xyxy
    if box is not None:
        regions.append(_region(Sector(box), clip.header.size, spacing, _DATA_COLOUR_FLOW))
    dataset.SequenceOfUltrasoundRegions = regions


def _region(sector: Sector | None, size: Size, spacing: Spacing, data_type: int) -> Dataset:
    height, width = size
    x0, y0, x1, y1 = sector.box_xyxy if sector else (0.0, 0.0, float(width), float(height))
    region = Dataset()
    region.RegionSpatialFormat = _SPATIAL_2D
    region.RegionDataType = data_type
    region.RegionFlags = _REGION_FLAGS
    # from pixel edges to the first and last pixel inside, as the standard counts
    region.RegionLocationMinX0 = min(max(math.floor(x0), 0), width - 1)
    region.RegionLocationMinY0 = min(max(math.floor(y0), 0), height - 1)
    region.RegionLocationMaxX1 = min(max(math.ceil(x1) - 1, 0), width - 1)
    region.RegionLocationMaxY1 = min(max(math.ceil(y1) - 1, 0), height - 1)
    region.PhysicalUnitsXDirection = _UNIT_CM
    region.PhysicalUnitsYDirection = _UNIT_CM
    region.PhysicalDeltaX = spacing.column_mm / 10
    region.PhysicalDeltaY = spacing.row_mm / 10
    return region


def _add_pixels(
    dataset: Dataset, frames: UInt8[np.ndarray, "frames height width *channels"], syntax: UltrasoundSyntax
) -> None:
    """Image Pixel module and the pixel data in ``syntax``."""
    colour = frames.ndim == 4
    count, dataset.Rows, dataset.Columns = frames.shape[:3]
    dataset.SamplesPerPixel = 3 if colour else 1
    if colour:
        dataset.PlanarConfiguration = 0
        dataset.UltrasoundColorDataPresent = 1
    is_jpeg = syntax is UltrasoundSyntax.JPEG_BASELINE
    dataset.PhotometricInterpretation = ("YBR_FULL_422" if is_jpeg else "RGB") if colour else "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.LossyImageCompression = "01" if is_jpeg else "00"
    if syntax is UltrasoundSyntax.EXPLICIT:
        raw = np.ascontiguousarray(frames).tobytes()
        dataset.add_new(Tag("PixelData"), "OB", raw + b"\0" * (len(raw) % 2))
        return
    encoded = [_encode_jpeg(frame) if is_jpeg else _encode_rle(frame, dataset) for frame in frames]
    if is_jpeg:
        dataset.LossyImageCompressionMethod = "ISO_10918_1"
        dataset.LossyImageCompressionRatio = f"{frames.nbytes / sum(map(len, encoded)):.4f}"
    if count > 1:
        dataset.add_new(Tag("PixelData"), "OB", encapsulate(encoded))
    else:
        dataset.add_new(Tag("PixelData"), "OB", encapsulate(encoded, has_bot=False))
    dataset["PixelData"].is_undefined_length = True


def _encode_jpeg(frame: UInt8[np.ndarray, "height width *channels"]) -> bytes:
    if frame.ndim == 2:
        encoded = simplejpeg.encode_jpeg(np.ascontiguousarray(frame)[..., None], JPEG_QUALITY, colorspace="GRAY")
    else:
        encoded = simplejpeg.encode_jpeg(np.ascontiguousarray(frame), JPEG_QUALITY, "RGB", colorsubsampling="422")
    return bytes(encoded)


def _encode_rle(frame: UInt8[np.ndarray, "height width *channels"], description: Dataset) -> bytes:
    layout: dict[str, Any] = {
        "rows": description.Rows,
        "columns": description.Columns,
        "number_of_frames": 1,
        "samples_per_pixel": description.SamplesPerPixel,
        "photometric_interpretation": description.PhotometricInterpretation,
        "bits_allocated": 8,
        "bits_stored": 8,
        "pixel_representation": 0,
    }
    if frame.ndim == 3:
        layout["planar_configuration"] = 0
    return bytes(get_encoder(RLELossless).encode(np.ascontiguousarray(frame), encoding_plugin="pydicom", **layout))
