"""The files that a DICOMDIR references (PS3.3 annex F; PS3.10 section 8.5 for the file IDs)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.multival import MultiValue

from echoapex.io.clip_source import ReadError, ReadLimits
from echoapex.io.dicom_values import clean_errors, text_of, value_of

_MEDIA_DIRECTORY = b"1.2.840.10008.1.3.10"


def is_dicomdir(name: str, head: bytes) -> bool:
    """Whether a DICOM file is a directory of a medium, by its name or the class in its first bytes."""
    return name.upper() == "DICOMDIR" or _MEDIA_DIRECTORY in head[132:1024]


def referenced_files(path: Path, display_name: str, limits: ReadLimits) -> list[Path | ReadError]:
    """The image files that a DICOMDIR references, in its order; an error for each that is missing or lies elsewhere.

    Raises:
        ReadError: the DICOMDIR is damaged, references no image, or is larger than the limit for headers.
    """
    with clean_errors(display_name, "is a damaged DICOMDIR"):
        if path.stat().st_size > limits.max_header_bytes:
            raise ReadError(display_name, "is larger than any DICOMDIR", "give the folder that it lies in")
        dataset = dcmread(path, force=True)
        records = value_of(dataset, "DirectoryRecordSequence") or []
        names = [_parts(record) for record in records if text_of(record, "DirectoryRecordType") == "IMAGE"]
    if not any(names):
        raise ReadError(display_name, "references no image, or is damaged", "give the folder that it lies in")
    found: list[Path | ReadError] = []
    for number, parts in enumerate((parts for parts in names if parts), start=1):
        # the name itself may hold a patient's, so an entry is called by its number
        entry = f"{display_name} entry {number}"
        if any(part in ("", ".", "..") or "/" in part or "\\" in part for part in parts):
            found.append(ReadError(entry, "references a file outside its folder", "distrust this DICOMDIR"))
            continue
        target = _locate(path.parent, parts)
        if target is None:
            found.append(ReadError(entry, "references a file that is missing", "copy the whole medium"))
        else:
            found.append(target)
    return found


def _parts(record: Any) -> tuple[str, ...]:
    value = value_of(record, "ReferencedFileID")
    if value is None:
        return ()
    return tuple(str(part) for part in value) if isinstance(value, MultiValue | list) else (str(value),)


def _locate(folder: Path, parts: tuple[str, ...]) -> Path | None:
    """The file below ``folder``; file IDs are upper case, but many copies of media are lower case."""
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
