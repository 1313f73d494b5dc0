"""What a received DICOM instance says of itself, without names: enough to file it, and to refuse it when damaged."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom import dcmread

from echoapex.io.clip_source import muted_pydicom
from echoapex.io.dicom.derived_object import MANUFACTURER
from echoapex.io.dicom.header import text_of

ULTRASOUND = (
    *("1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1", "1.2.840.10008.5.1.4.1.1.6.2"),
    *("1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.1.1.3"),
)
"""Ultrasound images: single frame, multi-frame, volume, and the two retired classes that old machines still send."""
CAPTURES = tuple(f"1.2.840.10008.5.1.4.1.1.7{end}" for end in ("", ".1", ".2", ".3", ".4"))
"""Secondary captures, as which some systems export clips."""
ANALYSED_CLASSES = frozenset((*ULTRASOUND, *CAPTURES))

_LONGEST_UID = 64
_UNDEFINED_LENGTH = 0xFFFFFFFF
_SEQUENCE_END = bytes.fromhex("feffdde000000000")
_DEFLATED = ("1.2.840.10008.1.2.1.99",)
_UIDS = ("StudyInstanceUID", "SOPInstanceUID", "SOPClassUID")


@dataclass(frozen=True)
class InstanceHeader:
    """The identity of an instance.

    Attributes:
        study_uid: StudyInstanceUID.
        sop_uid: SOPInstanceUID.
        sop_class: SOPClassUID.
        sha256: of the data set, without the file meta information, which differs from way to way.
        is_own_capture: whether it is a secondary capture that EchoApex made.
    """

    study_uid: str
    sop_uid: str
    sop_class: str
    sha256: str
    is_own_capture: bool = False

    @property
    def is_analysed(self) -> bool:
        """Whether an analysis can use it: an image of a kind in which echo clips come."""
        return self.sop_class in ANALYSED_CLASSES and not self.is_own_capture


def read_instance_header(content: bytes) -> InstanceHeader | None:
    """The identity of an instance in a DICOM file; None where the data set is damaged or lacks a UID."""
    try:
        with muted_pydicom():
            stream = BytesIO(content)
            dataset = dcmread(stream, stop_before_pixels=True)
            uids = [text_of(dataset, keyword) for keyword in _UIDS]
            own = uids[2] in CAPTURES and text_of(dataset, "Manufacturer") == MANUFACTURER
            cut = _is_cut(dataset, content, stream.tell())
    except Exception:  # whatever a damaged data set makes a parser raise
        return None
    if not all(is_uid(uid) for uid in uids) or cut:
        return None
    sha256 = hashlib.sha256(memoryview(content)[_data_set_start(content) :]).hexdigest()
    return InstanceHeader(uids[0], uids[1], uids[2], sha256, own)


def is_uid(value: str) -> bool:
    """Whether text is a UID: digits and dots, at most 64 characters."""
    return 0 < len(value) <= _LONGEST_UID and all(part.isdigit() for part in value.split("."))


def _is_cut(dataset: Any, content: bytes, start: int) -> bool:
    """Whether the pixels end before their stated length, or without the item that ends encapsulated ones.

    Args:
        dataset: what stands before the pixels.
        content: the whole file.
        start: where the element of the pixels begins.
    """
    if start >= len(content) or dataset.file_meta.get("TransferSyntaxUID") in _DEFLATED:
        return False
    implicit, little = dataset.original_encoding
    place = start + (4 if implicit else 8)
    length = int.from_bytes(content[place : place + 4], "little" if little else "big")
    if length == _UNDEFINED_LENGTH:
        return content.rfind(_SEQUENCE_END, start) < 0
    return place + 4 + length > len(content)


def _data_set_start(content: bytes) -> int:
    """Where the file meta information ends, by its group length (PS3.10 7.1)."""
    if content[128:138] != b"DICM\x02\x00\x00\x00UL":
        return 0
    return 144 + int.from_bytes(content[140:144], "little")
