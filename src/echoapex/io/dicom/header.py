"""Parse the header of a DICOM file up to its pixels, reading only the elements that are needed.

Identifying elements are not read unless they are requested. Every read is limited: an element that claims four
gigabytes, or a deflated header that would inflate to that size, is refused before memory is allocated. The number of
reads, items and values is limited too, so that millions of empty elements do not keep the reader busy.

Values of elements are typed here too. A broken element counts as missing: it never causes a crash, and no value of the
file gets into an error message.
"""

from __future__ import annotations

import hashlib
import io
import math
import tempfile
import weakref
import zlib
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from echoapex.io.clip_source import ReadError, ReadLimits, clean_errors, muted_pydicom

_CONVERSION_ERRORS = (ValueError, TypeError, AttributeError, KeyError, NotImplementedError, OverflowError, LookupError)
UNDEFINED_LENGTH = 0xFFFFFFFF
_PIXEL_TAGS = {0x7FE00008: "float", 0x7FE00009: "double", 0x7FE00010: "integer"}
_LONG_VR = {b"OB", b"OW", b"OD", b"OF", b"OL", b"OV", b"UN", b"SQ", b"UT", b"UC", b"UR", b"SV", b"UV"}
_INFLATE_STEP = 1 << 20
_HARMLESS_BYTES = 16 << 20
_MOST_READS = 200_000
_MOST_ITEMS = 2000
_MOST_ELEMENT_BYTES = 4 << 20
_MOST_VALUES = 1000
_ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_TEXT_NUMBERS = frozenset({"DS", "IS"})
_WHOLE = "check that the file is whole"
_NOTED_GROUPS = (*range(0x5000, 0x5020, 2), 0x5400)
_NOTED_TAGS = frozenset({0x00181800, 0x00200200})
_MANY_VALUED = frozenset({"FrameTimeVector", "RWaveTimeVector"})
CLINICAL_KEYWORDS = (
    *("SOPClassUID", "Modality", "Manufacturer", "ImageType", "NumberOfFrames", "UltrasoundColorDataPresent"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "ExtendedOffsetTable"),
    *("ExtendedOffsetTableLengths", "SequenceOfUltrasoundRegions"),
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in ("Red", "Green", "Blue")),
    *(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
    *("FrameIncrementPointer", "FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate"),
    *("ActualFrameDuration", "EffectiveDuration", "RWaveTimeVector", "HeartRate"),
    *("PatientSex", "PatientSize", "PatientWeight"),
    *("TransducerType", "TransducerData"),
    *("StudyInstanceUID", "SeriesInstanceUID"),
)
IDENTIFYING_KEYWORDS = (
    *("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber", "SOPInstanceUID"),
)
PATIENT_KEYWORDS = ("PatientID", "PatientName", "PatientBirthDate")
"""Elements that identify the patient; only read to make a keyed digest."""


def value_of(dataset: Dataset, keyword: str) -> Any:
    """The value of an element, or None if it is missing, empty or unreadable."""
    try:
        with muted_pydicom():
            value = dataset.get(keyword)
    except Exception:  # pydicom has its own error types for bad lengths
        return None
    return None if value in (None, "", b"") else value


def text_of(dataset: Dataset, keyword: str) -> str:
    """The first string of an element, stripped; empty if there is none."""
    texts = texts_of(dataset, keyword)
    return texts[0] if texts else ""


def texts_of(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """All strings of an element, stripped."""
    value = value_of(dataset, keyword)
    if value is None:
        return ()
    items = (
        value if isinstance(value, MultiValue | list | tuple) else [value]
    )  # iterating a PersonName gives its letters
    return tuple(str(item).strip() for item in items)


def number_of(dataset: Dataset, keyword: str) -> float | None:
    """The first finite number of an element, or None."""
    numbers = numbers_of(dataset, keyword)
    return numbers[0] if numbers else None


def numbers_of(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """All finite numbers of an element; empty if one of them is unreadable."""
    value = value_of(dataset, keyword)
    if value is None:
        return ()
    items = [value] if isinstance(value, str | int | float) else value
    try:
        numbers = tuple(float(item) for item in items)
    except _CONVERSION_ERRORS:
        return ()
    return numbers if all(math.isfinite(number) for number in numbers) else ()


def integer_of(dataset: Dataset, keyword: str) -> int | None:
    """The first number of an element as an integer; None if there is none or it is not a whole number."""
    number = number_of(dataset, keyword)
    return int(number) if number is not None and number == int(number) else None


@dataclass(frozen=True)
class PixelElement:
    """Location of the pixels in the file.

    Attributes:
        offset: first byte of the value.
        length: bytes of the value; None if it is encapsulated (undefined length).
        vr: value representation, ``OB`` or ``OW``.
    """

    offset: int
    length: int | None
    vr: str


class DicomFile:
    """A DICOM file with a parsed header; ``open_bytes`` opens the bytes that contain the pixels.

    ``noted_tags`` are elements of an ECG and of its synchronisation that were seen, but not read.
    """

    def __init__(
        self,
        path: Path,
        display_name: str,
        limits: ReadLimits,
        keep_identifiers: bool = False,
        read_patient: bool = False,
    ) -> None:
        """Parse the header; ``read_patient`` also reads the elements for the keyed digest of the patient.

        Raises:
            ReadError: the file is not DICOM, is damaged, or holds no image.
        """
        self.path = path
        self.display_name = display_name
        self.limits = limits
        self.sha256 = ""
        self._start = 0
        self._inflated: BinaryIO | None = None
        with clean_errors(display_name, "cannot be read"), path.open("rb") as stream:
            self.sha256 = _digest(stream)
            self.size = stream.tell()
        if self.size == 0:
            raise ReadError(display_name, "is empty", "copy or export the file again")
        keywords = CLINICAL_KEYWORDS + (IDENTIFYING_KEYWORDS if keep_identifiers else ())
        keywords += PATIENT_KEYWORDS if read_patient else ()
        tags = [tag for tag in map(tag_for_keyword, keywords) if tag is not None]
        with clean_errors(display_name, "its header cannot be parsed"), path.open("rb") as stream:
            self._parse(stream, tags)

    def open_bytes(self) -> AbstractContextManager[BinaryIO]:
        """Open the bytes that ``pixels.offset`` refers to; use it in a ``with`` statement."""
        return nullcontext(self._inflated) if self._inflated is not None else self.path.open("rb")

    def read_more(self, tags: Collection[int], max_bytes: int) -> Dataset:
        """Read further elements before the pixels, at most ``max_bytes`` of them.

        Raises:
            ReadError: they are larger than that, or damaged.
        """
        with clean_errors(self.display_name, "its header cannot be parsed"), self.open_bytes() as stream:
            window = BoundedReader(stream, max_bytes, _MOST_READS)
            window.seek(self._start)
            return read_elements(window, self.display_name, self.transfer_syntax, tags)[0]

    def _parse(self, stream: BinaryIO, tags: list[int]) -> None:
        window = BoundedReader(stream, self.limits.max_header_bytes, _MOST_READS)
        syntax = begin_data_set(window, self.display_name)
        if syntax == DeflatedExplicitVRLittleEndian:
            self._inflated = _inflate(stream, window.tell(), self.limits, self.display_name)
            weakref.finalize(self, self._inflated.close)
            self.size = self._inflated.seek(0, io.SEEK_END)
            window = BoundedReader(self._inflated, self.limits.max_header_bytes, _MOST_READS)
            window.seek(0)
            syntax = ExplicitVRLittleEndian
        self.transfer_syntax = syntax
        self._start = window.tell()
        self.dataset, self.noted_tags = read_elements(window, self.display_name, syntax, tags)
        _check_elements(self.dataset, self.limits, self.display_name)
        self.pixels = self._locate_pixels(window)

    def _locate_pixels(self, window: BoundedReader) -> PixelElement:
        # pydicom detects data sets that are not encoded in their transfer syntax
        implicit, little = self.dataset.original_encoding
        order: Literal["little", "big"] = "little" if little else "big"
        head = window.read(8)
        if len(head) < 8:
            raise ReadError(
                self.display_name,
                "holds no image (a report, a raw-data object, or the file ends before the pixels)",
                "give an ultrasound image or clip",
            )
        tag = int.from_bytes(head[0:2], order) << 16 | int.from_bytes(head[2:4], order)
        if _PIXEL_TAGS.get(tag) != "integer":
            raise ReadError(self.display_name, "holds floating-point pixels", "export it as 8-bit ultrasound")
        vr = b"OW" if implicit else head[4:6]
        if implicit:
            length = int.from_bytes(head[4:8], order)
        elif vr in _LONG_VR:
            length = int.from_bytes(window.read(4), order)
        else:
            raise ReadError(self.display_name, "its pixel element is damaged", "export the file again")
        return PixelElement(window.tell(), None if length == UNDEFINED_LENGTH else length, vr.decode("ascii"))


class BoundedReader:
    """A binary file that allows at most ``budget`` bytes in at most ``reads`` reads; seeking is not limited."""

    def __init__(self, stream: BinaryIO, budget: int, reads: int) -> None:
        self._stream = stream
        self._budget = budget
        self._reads = reads
        self.is_exhausted = False

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        Raises:
            EOFError: the limit is reached.
        """
        if size < 0 or size > self._budget or self._reads == 0:
            self.is_exhausted = True
            raise EOFError("the header is larger than the limit")
        self._budget -= size
        self._reads -= 1
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """The current position."""
        return self._stream.tell()


def begin_data_set(window: BoundedReader, display_name: str) -> UID:
    """Read the transfer syntax from the meta group, else from the first element; the reader then stands behind it.

    Raises:
        ReadError: the file does not look like DICOM.
    """
    window.seek(_start_of_elements(window, display_name))
    tag = tag_for_keyword("TransferSyntaxUID")
    with within_budget(window, display_name):
        meta = read_dataset(
            cast(BinaryIO, window), False, True, stop_when=lambda tag, *_: tag >> 16 != 2, specific_tags=[tag or 0]
        )
    found = text_of(meta, "TransferSyntaxUID")
    return UID(found) if found else _guess_transfer_syntax(window, display_name)


def read_elements(
    window: BoundedReader, display_name: str, syntax: UID, tags: Collection[int]
) -> tuple[Dataset, frozenset[int]]:
    """Some elements before the pixels, and the tags of an ECG and its synchronisation that were seen on the way.

    Raises:
        ReadError: the limit of ``window`` is reached.
    """
    seen: set[int] = set()

    def note(tag: int, *_: object) -> bool:
        if tag >> 16 in _NOTED_GROUPS or tag in _NOTED_TAGS:
            seen.add(int(tag))
        return int(tag) in _PIXEL_TAGS

    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    with within_budget(window, display_name):
        found = read_dataset(cast(BinaryIO, window), implicit, little, stop_when=note, specific_tags=[*tags])
    return found, frozenset(seen)


def count_items(value: object) -> int:
    """An upper bound on the number of items in a sequence (nested ones included): its count of item tags."""
    if not isinstance(value, bytes):
        return len(value) if hasattr(value, "__len__") else 0
    return max(value.count(tag) for tag in _ITEM_TAGS)


def _check_elements(dataset: Dataset, limits: ReadLimits, display_name: str) -> None:
    """Refuse elements of a size that only an attack has; pydicom parses an element only when it is used."""
    for element in dataset.elements():
        value = element.value
        keyword = keyword_for_tag(element.tag)
        size = len(value) if isinstance(value, bytes) else 0
        most = limits.max_frames if keyword in _MANY_VALUED else _MOST_VALUES
        if keyword == "SequenceOfUltrasoundRegions":
            is_huge = count_items(value) > _MOST_ITEMS
        else:
            # numbers stored as text are the slowest: each becomes an object
            is_text = dictionary_VR(element.tag) in _TEXT_NUMBERS
            is_huge = isinstance(value, bytes) and is_text and value.count(b"\\") > most
        if is_huge or size > _MOST_ELEMENT_BYTES:
            raise ReadError(
                display_name, f"its element {keyword or 'in the header'} is larger than any real one", _WHOLE
            )


@contextmanager
def within_budget(window: BoundedReader, display_name: str) -> Iterator[None]:
    """Report a header that exceeds the limit; pydicom would turn that error into one of its own."""
    too_large = ReadError(
        display_name,
        "claims a header larger than the limit",
        "check that the file is whole, or raise the limit max_header_bytes",
    )
    try:
        yield
    except Exception:
        if window.is_exhausted:
            raise too_large from None
        raise
    if window.is_exhausted:
        raise too_large


def _digest(stream: BinaryIO) -> str:
    return hashlib.file_digest(cast(io.BufferedReader, stream), "sha256").hexdigest()


def _start_of_elements(stream: BoundedReader, display_name: str) -> int:
    """Offset of the first element: 132 after a preamble, 0 in files written without one.

    Raises:
        ReadError: neither looks like DICOM.
    """
    head = stream.read(132)
    if head[128:132] == b"DICM":
        return 132
    group = head[0:2]
    if len(head) >= 8 and group in (b"\x02\x00", b"\x08\x00", b"\x00\x08") and b"\x00" in head[2:8]:
        return 0
    raise ReadError(display_name, "is no DICOM file", "check the file; other formats are recognised by their content")


def _guess_transfer_syntax(window: BoundedReader, display_name: str) -> UID:
    """The native transfer syntax of a data set without file meta information, judged by its first element."""
    start = window.tell()
    head = window.read(8)
    window.seek(start)
    if len(head) < 8:
        raise ReadError(display_name, "ends after its preamble", "copy or export the file again")
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    if head[0:1] == b"\x00" and head[1:2] != b"\x00":
        return UID(ExplicitVRBigEndian)
    return UID(ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian)


def _inflate(stream: BinaryIO, start: int, limits: ReadLimits, display_name: str) -> BinaryIO:
    """Inflate the data set into an unnamed temporary file, step by step, up to the limit (PS3.5 section A.5)."""
    stream.seek(start)
    inflated: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the clip)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    pending = stream.read(_INFLATE_STEP)
    while pending and not inflater.eof:
        inflated.write(inflater.decompress(pending, _INFLATE_STEP))
        ratio = inflated.tell() / max(1, stream.tell() - start)
        is_bomb = inflated.tell() > _HARMLESS_BYTES and ratio > limits.max_archive_ratio
        if is_bomb or inflated.tell() > limits.max_inflated_bytes:
            raise ReadError(
                display_name,
                "inflates to more bytes than the limit",
                "check that the file is genuine, or raise the limit max_inflated_bytes",
            )
        pending = inflater.unconsumed_tail or stream.read(_INFLATE_STEP)
    if not inflater.eof:
        raise ReadError(display_name, "its deflated data set ends early", "copy or export the file again")
    return inflated
