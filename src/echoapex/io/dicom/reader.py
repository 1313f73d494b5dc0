"""Read a DICOM ultrasound instance: the header without identifiers at once, the frames one at a time.

The header keeps what measurements need (calibration, times, sex, height, weight) and replaces every identifier by a
digest. Instances without a 2D echo image are opened too; their content says why they are set aside.

The content is checked in the header first: modality, format and data type of the ultrasound regions (PS3.3 section
C.8.5.5), and the third and fourth value of ImageType (C.8.5.6.1.1). Then the pixels are checked: whether they show a
cardiac fan, and whether colour Doppler is really on. The header does not tell this reliably: some machines mark whole
presets as colour, others never mark colour at all.

The kind of transducer is read from free text (TransducerData, 0018,5010), which may contain a serial number. Only words
from a fixed list are returned, so that nothing else leaks.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from echoapex.domain import ClipHeader, ContentKind
from echoapex.io.calibration import (
    Calibration,
    SpatialFormat,
    TimingElements,
    UltrasoundRegion,
    build_frame_times,
    calibrate,
    plausible_heart_rate,
    plausible_r_waves,
)
from echoapex.io.clip_source import ReadLimits, clean_errors
from echoapex.io.content import FoundContent, content_of_pixels
from echoapex.io.deidentify import PUBLIC_KEY, pseudonym
from echoapex.io.dicom.codecs import PixelLayout, read_layout, syntax_name
from echoapex.io.dicom.ecg import FoundEcg
from echoapex.io.dicom.ecg_object import find_ecg
from echoapex.io.dicom.frames import Image, StoredFrames, locate_frames
from echoapex.io.dicom.header import (
    IDENTIFYING_KEYWORDS,
    DicomFile,
    integer_of,
    number_of,
    numbers_of,
    text_of,
    texts_of,
    value_of,
)
from echoapex.io.sector import Box

_ULTRASOUND_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.6.1",  # Ultrasound Image
    "1.2.840.10008.5.1.4.1.1.3.1",  # Ultrasound Multi-frame Image
    "1.2.840.10008.5.1.4.1.1.6",  # Ultrasound Image, retired
    "1.2.840.10008.5.1.4.1.1.3",  # Ultrasound Multi-frame Image, retired
)
_KNOWN_MODALITIES = frozenset(
    [
        *("BI", "CR", "CT", "DX", "ECG", "ES", "GM", "IO", "IVOCT", "IVUS", "MG", "MR", "NM"),
        *("OCT", "OP", "OPT", "OT", "PT", "PX", "RF", "RG", "SC", "SM", "SR", "XA", "XC"),
    ]
)
_M_MODE_BITS = 0x0002 | 0x0020
_SPECTRAL_BITS = 0x0004 | 0x0008
_TWO_D_BITS = 0x0001 | 0x0010

# values of ImageType 3 that name another part of the body than the heart
_OTHER_PARTS = frozenset(
    [
        *("BREAST", "ENDOCAVITARY", "ENDORECTAL", "ENDOVAGINAL", "GYNECOLOGY", "INTRAVASCULAR", "MUSCULOSKELETAL"),
        *("NEONATAL HEAD", "OBSTETRICAL", "OPHTHALMIC", "PELVIC", "SMALL PARTS", "THYROID", "TRANSCRANIAL"),
    ]
)
_TEE = re.compile(
    r"\bTEE\b|TRANSESOPH|\bX[78]-[23]T|\bS7-[23]T|\b6V?T|\bT6|\bV5M|\bZ6M|\bMPT|\bP[34]-?T?EE|\bOMNI ?III", re.I
)
_ICE = re.compile(r"\bICE\b|INTRACARD|ACUNAV|VIEWFLEX|SOUNDSTAR|VERISIGHT", re.I)
_VENDORS = (
    ("philips", re.compile(r"PHILIPS|\bATL\b|AGILENT", re.I)),
    ("ge", re.compile(r"\bGE\b|GEMS|G\.?E\.? ?(MEDICAL|HEALTHCARE|VINGMED)|GENERAL ELECTRIC", re.I)),
    ("siemens", re.compile(r"SIEMENS|ACUSON", re.I)),
    ("canon", re.compile(r"CANON|TOSHIBA", re.I)),
    ("fujifilm", re.compile(r"FUJI|HITACHI|ALOKA|SONOSITE", re.I)),
    ("samsung", re.compile(r"SAMSUNG|MEDISON", re.I)),
    ("mindray", re.compile(r"MINDRAY", re.I)),
    ("esaote", re.compile(r"ESAOTE|BIOSOUND", re.I)),
    ("butterfly", re.compile(r"BUTTERFLY", re.I)),
    ("echoapex", re.compile(r"^ECHOAPEX$", re.I)),
)
_KINDS = (
    ("tee", _TEE),
    ("ice", _ICE),
    ("phased", re.compile(r"SECTOR|PHASED", re.I)),
    ("curved", re.compile(r"CURVED|CONVEX", re.I)),
    ("linear", re.compile(r"LINEAR", re.I)),
)
_MAX_REGIONS = 1000
_CORNERS = ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1")
_CLIP_ID_DIGITS = 12
_MANUFACTURER_LENGTH = 64
_HEIGHT_M = (0.2, 2.8)
_WEIGHT_KG = (0.3, 500.0)


class DicomSource:
    """One DICOM instance: ``header`` is known, ``frames()`` decodes the frames one by one."""

    def __init__(self, header: ClipHeader, stored: StoredFrames) -> None:
        self.header = header
        self._stored = stored

    def frames(self) -> Iterator[UInt8[np.ndarray, "height width *channels"]]:
        """Decode the frames in order; a second call starts again at the first frame.

        Yields:
            uint8 frames, grey (height, width) or RGB (height, width, 3).

        Raises:
            ReadError: a frame is damaged.
        """
        return self._stored.decode_all()

    def frames_every(self, stride: int) -> Iterator[UInt8[np.ndarray, "height width *channels"]]:
        """Decode the first frame and every ``stride``-th after it; separately stored frames in between are not decoded.

        Raises:
            ReadError: a frame is damaged.
        """
        return self._stored.decode_every(stride)


def open_dicom(
    path: Path,
    *,
    display_name: str | None = None,
    keep_identifiers: bool = False,
    limits: ReadLimits | None = None,
    pseudonym_key: bytes = PUBLIC_KEY,
) -> DicomSource:
    """Open a DICOM file; a few frames are decoded to classify its content.

    Args:
        path: the file.
        display_name: its name in error messages; by default a digest, because file names often name patients.
        keep_identifiers: also put patient name, ID, dates and UIDs into ``header.source``.
        limits: limits on size and number of frames.
        pseudonym_key: key of the digests of study and series; with a secret key ``header.source`` also has a digest
            of the patient.

    Returns:
        A source whose header has digests instead of identifiers.

    Raises:
        ReadError: the file is missing, not DICOM, damaged, without pixels, beyond the limits, or compressed in a way
            for which there is no decoder.
    """
    path = Path(path)
    name = display_name or (path.name if keep_identifiers else anonymous_name(path))
    file = DicomFile(path, name, limits or ReadLimits(), keep_identifiers, pseudonym_key != PUBLIC_KEY)
    layout = read_layout(file)
    stored = locate_frames(file, layout)
    sample = stored.sample()
    with clean_errors(name, "its header cannot be understood"):
        header = _build_header(file, layout, stored, sample)
        source = _describe_source(file.dataset, pseudonym_key, keep_identifiers)
        header.source.update(source)
    return DicomSource(header, stored)


def anonymous_name(path: Path) -> str:
    """A name for a file that does not reveal its path, which may name a patient; the same path gets the same name.

    The name is valid in this process only, because its key is secret: a digest without a secret key could be reversed
    by trying out paths.
    """
    return f"file-{pseudonym(str(path), _secret_of_this_process())[:_CLIP_ID_DIGITS]}"


@cache
def _secret_of_this_process() -> bytes:
    return secrets.token_bytes(32)


def _build_header(file: DicomFile, layout: PixelLayout, stored: StoredFrames, sample: list[Image]) -> ClipHeader:
    dataset = file.dataset
    regions = read_regions(dataset)
    times = build_frame_times(read_timing(dataset), stored.frame_count)
    calibration = calibrate(regions, layout.size, sample)
    content = _classify(dataset, regions, calibration, sample)
    found = find_ecg(file, times.times_s[-1] if times.known else None) if file.noted_tags else FoundEcg()
    return ClipHeader(
        clip_id=file.sha256[:_CLIP_ID_DIGITS],
        size=layout.size,
        frame_times_s=times.times_s,
        frame_times_known=times.known,
        spacing=calibration.spacing,
        spacing_reason=calibration.reason,
        sector=content.sector,
        content=content.kind,
        content_reason=content.reason,
        colour_box_xyxy=content.colour_box_xyxy,
        r_wave_times_s=plausible_r_waves(numbers_of(dataset, "RWaveTimeVector"), times.times_s[-1]),
        ecg=found.ecg,
        heart_rate_bpm=plausible_heart_rate(number_of(dataset, "HeartRate")),
        patient_sex=_sex(dataset),
        patient_height_m=_within(number_of(dataset, "PatientSize"), _HEIGHT_M),
        patient_weight_kg=_within(number_of(dataset, "PatientWeight"), _WEIGHT_KG),
        manufacturer=text_of(dataset, "Manufacturer")[:_MANUFACTURER_LENGTH],
        flags=tuple(dict.fromkeys((*stored.flags, *times.flags, *calibration.flags, *found.flags))),
        source={
            "format": "DICOM",
            "sha256": file.sha256,
            "transfer_syntax": syntax_name(layout.transfer_syntax),
            "calibration": calibration.source,
        },
    )


def classify_content(
    modality: str,
    sop_class: str,
    image_type: Sequence[str],
    regions: Sequence[UltrasoundRegion],
    frames: Sequence[UInt8[np.ndarray, "height width *channels"]],
    within_xyxy: Box | None = None,
) -> FoundContent:
    """Classify what an instance shows.

    Args:
        modality: Modality (0008,0060).
        sop_class: SOPClassUID, used if there is no modality.
        image_type: ImageType (0008,0008), all values.
        regions: the ultrasound regions.
        frames: some frames, which are searched for the fan and for colour.
        within_xyxy: the part of the image with ultrasound data, in pixel edges; by default the whole image.

    Returns:
        The content with its reason.
    """
    if modality != "US" and (modality or sop_class not in _ULTRASOUND_CLASSES):
        known = modality if modality in _KNOWN_MODALITIES else "of another modality"
        return FoundContent(ContentKind.NOT_ECHO, f"the image is {known}, not ultrasound")
    part = image_type[2].strip().upper() if len(image_type) > 2 else ""
    if part in _OTHER_PARTS:
        return FoundContent(ContentKind.NOT_ECHO, f"the image type says {part.lower()}, not the heart")
    by_header = _classify_regions(regions) if regions else _classify_image_type(image_type)
    if by_header.is_set_aside:
        return by_header
    by_pixels = content_of_pixels(frames, within_xyxy)
    return by_pixels if by_pixels.kind is not ContentKind.B_MODE else replace(by_pixels, reason=by_header.reason)


def _classify_regions(regions: Sequence[UltrasoundRegion]) -> FoundContent:
    formats = {region.spatial_format for region in regions}
    beside = " beside a 2D image" if SpatialFormat.TWO_D in formats else ""
    if SpatialFormat.SPECTRAL in formats:
        return FoundContent(ContentKind.SPECTRAL_DOPPLER, f"the header has a spectral Doppler region{beside}")
    if SpatialFormat.M_MODE in formats:
        return FoundContent(ContentKind.M_MODE, f"the header has an M-mode region{beside}")
    if any(region.shows_a_plane for region in regions):
        return FoundContent(ContentKind.B_MODE, "the header has a 2D region")
    if SpatialFormat.WAVEFORM in formats:
        return FoundContent(ContentKind.NOT_ECHO, "the header has a waveform region and no 2D region")
    return FoundContent(ContentKind.NOT_ECHO, "the header has ultrasound regions, none of them 2D")


def _classify_image_type(image_type: Sequence[str]) -> FoundContent:
    """Classify by the mode bits in ImageType value 4 (hexadecimal); without them a 2D image is assumed."""
    try:
        bits = int(image_type[3], 16) if len(image_type) > 3 and len(image_type[3]) == 4 else 0
    except ValueError:
        bits = 0
    if bits & _SPECTRAL_BITS:
        return FoundContent(ContentKind.SPECTRAL_DOPPLER, "the image type says spectral Doppler")
    if bits & _M_MODE_BITS:
        return FoundContent(ContentKind.M_MODE, "the image type says M-mode")
    if bits & _TWO_D_BITS:
        return FoundContent(ContentKind.B_MODE, "the image type says 2D")
    return FoundContent(ContentKind.B_MODE, "the header does not say; taken for a 2D image")


def probe_kind(transducer_type: Sequence[str], transducer_data: Sequence[str]) -> str:
    """The kind of a transducer: ``tee``, ``ice``, ``phased``, ``curved``, ``linear``, or empty if unknown.

    Args:
        transducer_type: values of TransducerType (0018,6031).
        transducer_data: values of TransducerData (0018,5010), usually a model name.

    >>> probe_kind(["SECTOR_PHASED"], ["X8-2t", "serial 12345"])
    'tee'
    >>> probe_kind([], ["B0FKQX"])
    ''
    """
    text = " ".join([*transducer_type, *transducer_data]).replace("_", " ")
    return next((kind for kind, pattern in _KINDS if pattern.search(text)), "")


def vendor_of(manufacturer: str) -> str:
    """The vendor as one short name: ``philips``, ``ge``...; ``other`` for any other, empty if unknown.

    >>> vendor_of("GE Vingmed Ultrasound"), vendor_of("TOSHIBA_MEC_US"), vendor_of("St. Mary, Ward 3"), vendor_of("")
    ('ge', 'canon', 'other', '')
    """
    if not manufacturer.strip():
        return ""
    text = manufacturer.replace("_", " ")
    return next((vendor for vendor, pattern in _VENDORS if pattern.search(text)), "other")


def read_regions(dataset: Dataset) -> tuple[UltrasoundRegion, ...]:
    """All items of SequenceOfUltrasoundRegions (0018,6011); unreadable elements are None."""
    items: Iterable[Any] | None = value_of(dataset, "SequenceOfUltrasoundRegions")
    if items is None or isinstance(items, str | bytes):
        return ()
    return tuple(_read_region(item) for item in list(items)[:_MAX_REGIONS] if isinstance(item, Dataset))


def read_timing(dataset: Dataset) -> TimingElements:
    """The timing elements of the Cine and Multi-frame modules."""
    return TimingElements(
        frame_time_vector_ms=numbers_of(dataset, "FrameTimeVector"),
        frame_time_ms=number_of(dataset, "FrameTime") or number_of(dataset, "ActualFrameDuration"),
        rate_hz=number_of(dataset, "CineRate") or number_of(dataset, "RecommendedDisplayFrameRate"),
        duration_s=number_of(dataset, "EffectiveDuration"),
        vector_is_pointed_to=value_of(dataset, "FrameIncrementPointer") == tag_for_keyword("FrameTimeVector"),
    )


def _read_region(item: Dataset) -> UltrasoundRegion:
    corners = [integer_of(item, keyword) for keyword in _CORNERS]
    x0, y0, x1, y1 = corners
    complete = x0 is not None and y0 is not None and x1 is not None and y1 is not None
    return UltrasoundRegion(
        spatial_format=integer_of(item, "RegionSpatialFormat"),
        data_type=integer_of(item, "RegionDataType"),
        corners=(x0, y0, x1, y1) if complete else None,  # type: ignore[arg-type]
        unit_x=integer_of(item, "PhysicalUnitsXDirection"),
        unit_y=integer_of(item, "PhysicalUnitsYDirection"),
        delta_x=number_of(item, "PhysicalDeltaX"),
        delta_y=number_of(item, "PhysicalDeltaY"),
    )


def _classify(
    dataset: Dataset, regions: tuple[UltrasoundRegion, ...], calibration: Calibration, sample: list[Image]
) -> FoundContent:
    """Classify the content; regions that do not fit the image still tell what it shows, but not where."""
    return classify_content(
        modality=text_of(dataset, "Modality").upper(),
        sop_class=text_of(dataset, "SOPClassUID"),
        image_type=texts_of(dataset, "ImageType"),
        regions=regions,
        frames=sample,
        within_xyxy=calibration.sector.box_xyxy if calibration.sector else None,
    )


def _describe_source(dataset: Dataset, key: bytes, keep_identifiers: bool) -> dict[str, str]:
    """Pseudonyms of study and series; with ``keep_identifiers`` also the identifiers."""
    source = {
        "study": pseudonym(text_of(dataset, "StudyInstanceUID"), key),
        "series": pseudonym(text_of(dataset, "SeriesInstanceUID"), key),
        "probe": probe_kind(texts_of(dataset, "TransducerType"), texts_of(dataset, "TransducerData")),
    }
    if key != PUBLIC_KEY:  # there are so few patient IDs that anyone could try them all with a public key
        source["patient"] = pseudonym(_patient(dataset), key)
    if keep_identifiers:
        kept = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", *IDENTIFYING_KEYWORDS)
        source.update({keyword: text_of(dataset, keyword) for keyword in kept})
    return {name: value for name, value in source.items() if value}


def _patient(dataset: Dataset) -> str:
    """What identifies the patient: the ID, else name and birth date; empty if neither is known."""
    patient_id = text_of(dataset, "PatientID").strip().upper()
    if patient_id:
        return f"id {patient_id}"
    name, born = (text_of(dataset, keyword).strip().upper() for keyword in ("PatientName", "PatientBirthDate"))
    return f"name {name} {born}" if name else ""


def _sex(dataset: Dataset) -> str | None:
    sex = text_of(dataset, "PatientSex").upper()
    return sex if sex in ("M", "F") else None


def _within(value: float | None, bounds: tuple[float, float]) -> float | None:
    return value if value is not None and bounds[0] <= value <= bounds[1] else None
