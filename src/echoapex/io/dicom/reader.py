"""Read a DICOM ultrasound instance: the header without identifiers at once, the frames one at a time.

The header keeps what measurements need (calibration, times, sex, height, weight) and replaces every identifier by a
digest. Instances without a 2D echo image are opened too; their content says why they are set aside.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from pydicom.dataset import Dataset

from echoapex.domain import ClipHeader
from echoapex.io.calibration import (
    Calibration,
    UltrasoundRegion,
    build_frame_times,
    calibrate,
    plausible_heart_rate,
    plausible_r_waves,
)
from echoapex.io.clip_source import ReadLimits
from echoapex.io.content import Content, classify_content
from echoapex.io.deidentify import PUBLIC_KEY, pseudonym
from echoapex.io.dicom.codecs import PixelLayout, read_layout, syntax_name
from echoapex.io.dicom.elements import clean_errors, number_of, numbers_of, read_regions, read_timing, text_of, texts_of
from echoapex.io.dicom.frames import Image, StoredFrames, locate_frames
from echoapex.io.dicom.header import IDENTIFYING_KEYWORDS, DicomFile
from echoapex.io.sector import probe_kind

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
        heart_rate_bpm=plausible_heart_rate(number_of(dataset, "HeartRate")),
        patient_sex=_sex(dataset),
        patient_height_m=_within(number_of(dataset, "PatientSize"), _HEIGHT_M),
        patient_weight_kg=_within(number_of(dataset, "PatientWeight"), _WEIGHT_KG),
        manufacturer=text_of(dataset, "Manufacturer")[:_MANUFACTURER_LENGTH],
        flags=tuple(dict.fromkeys((*stored.flags, *times.flags, *calibration.flags))),
        source={
            "format": "DICOM",
            "sha256": file.sha256,
            "transfer_syntax": syntax_name(layout.transfer_syntax),
            "calibration": calibration.source,
        },
    )


def _classify(
    dataset: Dataset, regions: tuple[UltrasoundRegion, ...], calibration: Calibration, sample: list[Image]
) -> Content:
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
