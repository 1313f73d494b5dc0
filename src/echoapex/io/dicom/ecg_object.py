"""Find the ECG of a clip: in its file, else in an ECG waveform object of the same study in the same folder.

An ECG object is looked for only beside a clip that carries the Synchronization module (PS3.3 section C.7.4.2). The two
are aligned by Acquisition DateTime (0008,002A), which is the start of the acquisition in both and the reference of the
waveform's Multiplex Group Time Offset (C.10.8). This needs one clock: the same Synchronization Frame of Reference UID,
Acquisition Time Synchronized = Y in both, and times that are written to a hundredth of a second or finer.

Dates and UIDs are compared in memory and go nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from echoapex.domain import EcgOrigin
from echoapex.io.clip_source import ReadError, ReadFlag, clean_errors
from echoapex.io.dicom.ecg import (
    MAX_ECG_BYTES,
    WAVEFORM_SEQUENCE,
    EcgError,
    FoundEcg,
    fit_to_clip,
    read_stored_ecg,
    read_waveform,
)
from echoapex.io.dicom.header import BoundedReader, DicomFile, begin_data_set, read_elements, text_of, value_of

_ECG_CLASSES = b"1.2.840.10008.5.1.4.1.1.9.1."
"""What the UIDs of the ECG waveform classes begin with (12-lead, general, ambulatory, 32-bit)."""
_HEAD_BYTES = 512
_MOST_FILES = 2000
_MOST_READS = 20_000
_MOST_REFERENCES = 1000
_CLOCK_BYTES = 1 << 16
_SYNCHRONIZED = 0x00181800, 0x00200200
_CLOCK_KEYWORDS = (
    *("SOPInstanceUID", "StudyInstanceUID", "AcquisitionDateTime", "TimezoneOffsetFromUTC"),
    *("AcquisitionTimeSynchronized", "SynchronizationFrameOfReferenceUID"),
)
_EXACT_TIME = re.compile(r"(\d{14})(\.\d{2,6})([+-]\d{4})?")


@dataclass(frozen=True)
class _Clock:
    """When an object was acquired, and by which clock; ``start`` is None if it is not known to 10 ms."""

    instance: str
    study: str
    frame_of_reference: str
    is_synchronised: bool
    start: datetime | None

    @classmethod
    def of(cls, dataset: Dataset) -> _Clock:
        return cls(
            text_of(dataset, "SOPInstanceUID"),
            text_of(dataset, "StudyInstanceUID"),
            text_of(dataset, "SynchronizationFrameOfReferenceUID"),
            text_of(dataset, "AcquisitionTimeSynchronized").upper() == "Y",
            _exact_time(text_of(dataset, "AcquisitionDateTime"), text_of(dataset, "TimezoneOffsetFromUTC")),
        )

    def seconds_until(self, other: _Clock) -> float | None:
        """Time from this start to the other; None if there is no common clock."""
        if not self.frame_of_reference or self.frame_of_reference != other.frame_of_reference:
            return None
        if not (self.is_synchronised and other.is_synchronised) or self.start is None or other.start is None:
            return None
        if (self.start.tzinfo is None) != (other.start.tzinfo is None):
            return None
        return (other.start - self.start).total_seconds()


def find_ecg(file: DicomFile, duration_s: float | None) -> FoundEcg:
    """The ECG of a clip.

    Args:
        file: the file of the clip.
        duration_s: time from the first to the last frame; None if the frame times are not known.

    Returns:
        The ECG in the file; else that of an object beside it; else the flag that says why one was left out.
    """
    found = read_stored_ecg(file, duration_s)
    if found.ecg is not None or not file.noted_tags.issuperset(_SYNCHRONIZED):
        return found
    try:
        own = _Clock.of(file.read_more(_tags(_CLOCK_KEYWORDS), _CLOCK_BYTES))
    except ReadError:
        return found
    flags = list(found.flags)
    for path in _ecg_files(file.path):
        try:
            beside = _read_object(path, own, duration_s)
        except (ReadError, OSError):
            continue  # it is told of when it is read itself
        if beside.ecg is not None:
            return beside
        flags += beside.flags
    return FoundEcg(flags=tuple(flags[:1]))


def _ecg_files(clip: Path) -> Iterator[Path]:
    """The ECG objects in the folder of a clip, by the class in their meta group."""
    try:
        paths = sorted(path for path in clip.parent.iterdir() if path != clip)[:_MOST_FILES]
    except OSError:
        return
    for path in paths:
        try:
            if not path.is_file():
                continue
            with path.open("rb") as stream:
                head = stream.read(_HEAD_BYTES)
        except OSError:
            continue
        if head[128:132] == b"DICM" and _ECG_CLASSES in head:
            yield path


def _read_object(path: Path, own: _Clock, duration_s: float | None) -> FoundEcg:
    name = "an ECG beside the clip"
    with clean_errors(name, "its header cannot be parsed"), path.open("rb") as stream:
        window = BoundedReader(stream, MAX_ECG_BYTES, _MOST_READS)
        syntax = begin_data_set(window, name)
        if syntax == DeflatedExplicitVRLittleEndian:
            return FoundEcg()
        tags = (*_tags(("ReferencedInstanceSequence", *_CLOCK_KEYWORDS)), WAVEFORM_SEQUENCE)
        dataset, _ = read_elements(window, name, syntax, tags)
        clock = _Clock.of(dataset)
        if not own.study or clock.study != own.study:
            return FoundEcg()
        start_s = own.seconds_until(clock)
        if start_s is None:
            belongs = clock.frame_of_reference == own.frame_of_reference or _refers_to(dataset, own.instance)
            return FoundEcg(flags=(ReadFlag.ECG_NOT_SYNCHRONISED,) if belongs else ())
        try:
            ecg = read_waveform(dataset, start_s, EcgOrigin.WAVEFORM_OBJECT, every_lead=True)
            return FoundEcg(fit_to_clip(ecg, duration_s) if ecg else None)
        except EcgError as error:
            # an ECG of the study that was taken at another time is not one of this clip
            is_other = error.flag is ReadFlag.ECG_OF_ANOTHER_TIME
            return FoundEcg(flags=() if is_other else (error.flag,))


def _refers_to(dataset: Dataset, instance: str) -> bool:
    references = value_of(dataset, "ReferencedInstanceSequence")
    if references is None or isinstance(references, bytes | str):
        return False
    return any(text_of(item, "ReferencedSOPInstanceUID") == instance for item in list(references)[:_MOST_REFERENCES])


def _tags(keywords: tuple[str, ...]) -> list[int]:
    return [tag for tag in map(tag_for_keyword, keywords) if tag is not None]


def _exact_time(text: str, offset: str) -> datetime | None:
    """A DT value (PS3.5 section 6.2) with at least hundredths of a second; with a time zone where one is known."""
    found = _EXACT_TIME.fullmatch(text)
    if found is None:
        return None
    whole, fraction, zone = found.groups()
    zone = zone or (offset if re.fullmatch(r"[+-]\d{4}", offset) else "")
    try:
        return datetime.strptime(f"{whole}{fraction}{zone}", "%Y%m%d%H%M%S.%f" + ("%z" if zone else ""))
    except ValueError:
        return None
