"""The image files that a DICOMDIR lists (PS3.3 annex F; PS3.10 section 8.5 for the file IDs)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from echoapex.io.clip_source import ReadError, ReadLimits, clean_errors
from echoapex.io.dicom.header import BoundedReader, begin_data_set, count_items, text_of, value_of, within_budget

_MOST_BYTES = 16 << 20
_MOST_READS = 1_200_000
_MOST_RECORDS = 100_000


def referenced_files(path: Path, display_name: str, limits: ReadLimits) -> list[Path | ReadError]:
    """The image files that a DICOMDIR references, in its order; an error for each one missing or outside its folder.

    Raises:
        ReadError: the DICOMDIR is damaged, references no image, or is larger than the limit for headers.
    """
    with clean_errors(display_name, "is a damaged DICOMDIR"):
        if path.stat().st_size > min(limits.max_header_bytes, _MOST_BYTES):
            raise ReadError(display_name, "is larger than any DICOMDIR", "give the folder that it lies in")
        records = _records(path, display_name)
        names = [_parts(record) for record in records if text_of(record, "DirectoryRecordType") == "IMAGE"]
    if not any(names):
        raise ReadError(display_name, "references no image, or is damaged", "give the folder that it lies in")
    found: list[Path | ReadError] = []
    for number, parts in enumerate((parts for parts in names if parts), start=1):
        # the file name may contain a patient's name, so an entry is called by its number
        entry = f"{display_name} entry {number}"
        target: Path | None = None
        if any(part in ("", ".", "..") or "/" in part or "\\" in part for part in parts):
            found.append(ReadError(entry, "references a file outside its folder", "do not trust this DICOMDIR"))
            continue
        with suppress(OSError, ValueError):  # an impossible file name, or an unreadable folder
            target = _locate(path.parent, parts)
        if target is None:
            found.append(ReadError(entry, "references a file that is missing", "copy the whole medium"))
        else:
            found.append(target)
    return found


def _records(path: Path, display_name: str) -> list[Dataset]:
    """The directory records; their number is limited.

    Raises:
        ReadError: there are more records than any medium holds, or the file is deflated, which is not allowed.
    """
    tag = tag_for_keyword("DirectoryRecordSequence") or 0
    with path.open("rb") as stream:
        window = BoundedReader(stream, _MOST_BYTES, _MOST_READS)
        syntax = begin_data_set(window, display_name)
        if syntax == DeflatedExplicitVRLittleEndian:
            raise ReadError(display_name, "is deflated, which no DICOMDIR may be", "give the folder that it lies in")
        with within_budget(window, display_name):
            dataset = read_dataset(
                cast(BinaryIO, window),
                syntax == ImplicitVRLittleEndian,
                syntax != ExplicitVRBigEndian,
                specific_tags=[tag],
            )
    raw = dataset.get_item(tag)
    if raw is not None and count_items(raw.value) > _MOST_RECORDS:
        raise ReadError(display_name, "is larger than any DICOMDIR", "give the folder that it lies in")
    return list(value_of(dataset, "DirectoryRecordSequence") or [])


def _parts(record: Any) -> tuple[str, ...]:
    value = value_of(record, "ReferencedFileID")
    if value is None:
        return ()
    return tuple(str(part) for part in value) if isinstance(value, MultiValue | list) else (str(value),)


def _locate(folder: Path, parts: tuple[str, ...]) -> Path | None:
    """Find the file below ``folder``; file IDs are upper case, but copied media often have lower-case names."""
    current = folder
    for part in parts:
        exact = current / part
        if exact.exists():
            current = exact
            continue
        if not current.is_dir():
            return None
        other = [child for child in sorted(current.iterdir()) if child.name.upper().rstrip(".") == part.upper()]
        if not other:
            return None
        current = other[0]
    return current if current.is_file() else None
