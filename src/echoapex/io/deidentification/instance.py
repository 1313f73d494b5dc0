"""De-identify one DICOM image: read it, clean header and pixels, check the result, then write it.

The result is checked before it gets its final name: it is read again from disk, its pixels must be those that were
meant, and no identifying value of the source may occur in its bytes outside the pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from echoapex.io.clip_source import ReadError, ReadLimits, clean_errors, muted_pydicom
from echoapex.io.deidentification.header import METHOD_TEXT, CleanedHeader, clean_header, method_items
from echoapex.io.deidentification.kept_area import KeptArea, find_kept_area
from echoapex.io.deidentification.kept_elements import CLOSED_LISTS, ECHO_WORDS
from echoapex.io.deidentification.pixels import (
    CleanedPixels,
    check_depth,
    clean_pixels,
    describe_pixels,
    pixel_digest,
)
from echoapex.io.deidentification.profile import Action, Profile, ProfileOption, rule_of
from echoapex.io.deidentification.project_key import ProjectKey
from echoapex.io.deidentification.text_search import TextReader
from echoapex.io.dicom.codecs import read_layout, syntax_name
from echoapex.io.dicom.frames import locate_frames
from echoapex.io.dicom.header import BoundedReader, DicomFile, begin_data_set, text_of, within_budget
from echoapex.io.dicom.reader import read_regions
from echoapex.io.dicom.writer import derive_uid
from echoapex.io.temporary_files import replace_when_complete

_PIXEL_GROUP = 0x7FE0
_MOST_READS = 400_000
_LEAST_LETTERS, _LEAST_DIGITS = 5, 6
_NEW_UID = re.compile(rb"2\.25\.\d+")
_ULTRASOUND = frozenset(("US", "IVUS"))
_ULTRASOUND_CLASSES = ("1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1")
_OLD_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.6": _ULTRASOUND_CLASSES[0],
    "1.2.840.10008.5.1.4.1.1.3": _ULTRASOUND_CLASSES[1],
}
_IDENTIFYING_VRS = frozenset(("PN", "LO", "SH", "UI", "LT", "ST", "UT", "AE", "UC", "UR", "DA", "DT"))


@dataclass(frozen=True)
class Method:
    """How files are de-identified.

    Attributes:
        profile: the profile and its options.
        key: key of the project.
        reader: searches for burned-in text; None without a search.
        limits: limits on what is read.
    """

    profile: Profile
    key: ProjectKey
    reader: TextReader | None
    limits: ReadLimits


@dataclass(frozen=True)
class CleanedInstance:
    """One file that was written, for the proof.

    Attributes:
        header: the new header and what happened to the old one.
        pixels: the new pixels and what was blanked.
        area: what was meant to stay before text was searched.
        source_syntax: registered name of the transfer syntax of the source.
        source_photometric: photometric interpretation of the source.
        sought: identifying values of the source that are looked for in the result; never shown.
    """

    header: CleanedHeader
    pixels: CleanedPixels
    area: KeptArea
    source_syntax: str
    source_photometric: str
    sought: frozenset[str] = field(repr=False)


def read_whole_header(file: DicomFile) -> Dataset:
    """Every element up to the pixels, within the limits of a header.

    Raises:
        ReadError: the header cannot be parsed.
    """
    name = file.display_name
    with clean_errors(name, "its header cannot be parsed"), file.open_bytes() as stream:
        window = BoundedReader(stream, file.limits.max_header_bytes, _MOST_READS)
        window.seek(0)  # an inflated data set is read more than once
        syntax = begin_data_set(window, name)
        with within_budget(window, name):
            dataset: Dataset = read_dataset(
                cast(BinaryIO, window),
                syntax == ImplicitVRLittleEndian,
                syntax != ExplicitVRBigEndian,
                stop_when=lambda tag, *_: tag.group >= _PIXEL_GROUP,
            )
            return dataset


def clean_instance(path: Path, display_name: str, method: Method) -> tuple[Dataset, CleanedInstance, str]:
    """Clean one file without writing it.

    Returns:
        The new data set, what was done, and the SHA-256 of the source.

    Raises:
        ReadError: the file cannot be read, is no ultrasound image, or cannot be cleaned.
    """
    file = DicomFile(path, display_name, method.limits)
    source = read_whole_header(file)
    _check_kind(source, display_name)
    layout = read_layout(file)
    check_depth(layout, display_name)
    stored = locate_frames(file, layout)
    area = find_kept_area(stored.sample(), layout.size, read_regions(source), display_name)
    if method.reader is None and not area.is_certain:
        raise ReadError(
            display_name,
            "shows more than a fan (a linear image, a trace or a whole region), which is kept only if text is searched",
            "search for text: leave out --no-ocr",
        )
    pixels = clean_pixels(stored, area, method.reader, display_name)
    with clean_errors(display_name, "its header cannot be cleaned"):
        header = clean_header(source, method.profile, method.key, file.sha256)
        dataset = _complete(header.dataset, pixels, method)
        tokens = identifying_values(source, method.profile)
    done = CleanedInstance(header, pixels, area, syntax_name(layout.transfer_syntax), layout.photometric, tokens)
    return dataset, done, file.sha256


def write_instance(path: Path, dataset: Dataset, done: CleanedInstance, limits: ReadLimits) -> None:
    """Write a cleaned data set, and check it on disk before it gets its final name.

    Raises:
        ReadError: the check failed; nothing is written.
    """
    with replace_when_complete(path) as partial:
        with clean_errors(path.name, "cannot be written"):
            dataset.save_as(partial, enforce_file_format=True)
        check_result(partial, path.name, done, limits)


def check_result(path: Path, display_name: str, done: CleanedInstance, limits: ReadLimits) -> None:
    """Read a result again: its pixels are those that were meant, and no value of the source is in its header.

    Raises:
        ReadError: the check failed.
    """
    file = DicomFile(path, display_name, limits)
    if pixel_digest(locate_frames(file, read_layout(file)).decode_all()) != done.pixels.digest:
        raise ReadError(display_name, "has other pixels after writing than meant", "report this as a bug")
    with path.open("rb") as stream:
        head = _NEW_UID.sub(b"", stream.read(file.pixels.offset).lower())
    if any(token.lower().encode("utf-8", "surrogateescape") in head for token in done.sought):
        raise ReadError(display_name, "the check found a value of the source in the result", "report this as a bug")


def identifying_values(source: Dataset, profile: Profile) -> frozenset[str]:
    """Values of the source that must not occur in the result: text, dates and UIDs that the profile does not keep.

    Left out are values that a kept element has as well (the name of a vendor, a registered UID), words that every
    result contains, and values so short that they occur by chance.
    """
    with muted_pydicom():
        walked = list(_walk(source, profile))
    stays = "\n".join((*(text for texts, keep in walked if keep for text in texts), *_own_words(profile))).lower()
    found = {text for texts, keep in walked if not keep for text in texts}
    return frozenset(token for token in found if token.lower() not in stays)


def _own_words(profile: Profile) -> Iterator[str]:
    yield from (meaning for _, meaning in profile.method_codes(text_was_searched=True))
    yield from (METHOD_TEXT, "ANON", "REMOVED", "MODIFIED", "UNMODIFIED", "ECHOAPEX", "MONOCHROME2", "ISO_IR 192")
    for words in CLOSED_LISTS.values():
        yield from words
    yield " ".join(ECHO_WORDS)


def _walk(dataset: Dataset, profile: Profile, depth: int = 0) -> Iterator[tuple[list[str], bool]]:
    """The values of every element with text, and whether they are kept."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
            if element.VR == "SQ":
                for item in element.value:
                    yield from _walk(item, profile, depth + 1)
                continue
            if element.VR not in _IDENTIFYING_VRS or element.is_empty:
                continue
            values = element.value if element.VM > 1 else [element.value]
            texts = [str(value).strip() for value in values]
        except Exception:  # noqa: S112  (what cannot be read is not written either)
            continue
        if not tag.is_private and rule_of(tag) is None:
            yield texts, True
            continue
        action = None if tag.is_private else profile.action(tag, is_nested=depth > 0)
        if element.VR in ("DA", "DT") and ProfileOption.MODIFIED_DATES in profile.options:
            continue  # a shifted date may by chance be another date of the source
        words = [word for text in texts for word in _words(text, element.VR)]
        yield words, action in (Action.KEEP, Action.CLEAN)


def _words(text: str, vr: str) -> list[str]:
    parts = re.split(r"[\^=\s]+", text) if vr == "PN" else [text]
    least = {True: _LEAST_DIGITS, False: _LEAST_LETTERS}
    return [part for part in parts if len(part) >= least[part.replace(".", "").isdigit()] and len(set(part)) > 2]


def _check_kind(source: Dataset, display_name: str) -> None:
    modality, sop_class = text_of(source, "Modality").upper(), text_of(source, "SOPClassUID")
    if sop_class == "1.2.840.10008.5.1.4.1.1.6.2":
        raise ReadError(
            display_name, "is an ultrasound volume, whose slices are no pictures of a screen", "leave it out"
        )
    if modality not in _ULTRASOUND and sop_class not in (*_ULTRASOUND_CLASSES, *_OLD_CLASSES):
        raise ReadError(display_name, "is no ultrasound image", "give ultrasound; other images need another tool")


def _complete(dataset: Dataset, pixels: CleanedPixels, method: Method) -> Dataset:
    """Add what describes pixels and method, and new file meta information."""
    describe_pixels(dataset, pixels)
    dataset.setdefault("Modality", "US")
    searched = pixels.texts is not None
    if searched:
        dataset.BurnedInAnnotation = "NO"
    dataset.DeidentificationMethodCodeSequence = method_items(method.profile.method_codes(text_was_searched=searched))
    dataset.SOPClassUID = _ULTRASOUND_CLASSES[int(len(pixels.frames) > 1 or "NumberOfFrames" in dataset)]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = RLELossless
    meta.ImplementationClassUID = derive_uid("implementation")
    meta.ImplementationVersionName = "ECHOAPEX"
    dataset.file_meta = meta
    return dataset
