"""What a worker does: read the files of a unit, write their frames, report. Runs in any process, on any machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from echoapex.data.ingest.archive_key import ArchiveKey
from echoapex.data.ingest.clip_frames import ClipFrames, read_clip_frames
from echoapex.data.ingest.plan import SourceFile, Unit, UnreadableFile
from echoapex.data.ingest.rules import IngestRules
from echoapex.data.lance_library import StoreError
from echoapex.data.store_place import StorePlace
from echoapex.data.store_writer import write_fragments
from echoapex.domain import Spacing
from echoapex.io.clip_source import ReadError
from echoapex.io.frame_codec import encode_frame
from echoapex.io.transducer import vendor_of

INGESTED, SET_ASIDE, REJECTED = "ingested", "set_aside", "rejected"

NOTHING_KNOWN: Mapping[str, Any] = {
    **dict.fromkeys(("reason", "remedy", "clip", "study", "patient", "split", "vendor", "probe", "content"), ""),
    **dict.fromkeys(("frames_native", "frames_sampled", "frames_kept", "native_height", "native_width"), 0),
    "row_mm": None,
    "column_mm": None,
    "flags": [],
}
"""The record of a file of which nothing is known."""


@dataclass(frozen=True)
class IngestJob:
    """What all units of a run share; travels to every worker."""

    rules: IngestRules
    secret: bytes
    location: str


@dataclass(frozen=True)
class UnitReport:
    """What became of a unit: frames that wait to be committed, and one record per file."""

    fragments: tuple[str, ...]
    records: tuple[dict[str, Any], ...]


def ingest_unit(job: IngestJob, unit: Unit) -> UnitReport:
    """Read the files of a unit and write their frames, uncommitted.

    A file that cannot be read becomes a record that says why; it never stops the unit.

    Raises:
        StoreError: the store cannot be written to.
    """
    cv2.setNumThreads(1)  # the engine already keeps every core busy
    key = ArchiveKey(job.secret)
    rows: list[dict[str, Any]] = []
    records = []
    for file in unit.files:
        record, frames = _read(file, job.rules, key)
        records.append(record)
        rows += frames
    return UnitReport(write_fragments(StorePlace(job.location), rows), tuple(records))


def rejected(file: SourceFile | UnreadableFile, reason: str, remedy: str) -> dict[str, Any]:
    """The record of a file that cannot be ingested."""
    stamp = file.stamp if isinstance(file, SourceFile) else ""
    about = {"file": file.file, "stamp": stamp, "name": file.name}
    return {**NOTHING_KNOWN, **about, "outcome": REJECTED, "reason": reason, "remedy": remedy}


def pixel_digest(frame: UInt8[np.ndarray, "height width"]) -> int:
    """The first 64 bits of the BLAKE2 digest of the pixels, as a signed integer."""
    digest = hashlib.blake2b(np.ascontiguousarray(frame).data, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _read(file: SourceFile, rules: IngestRules, key: ArchiveKey) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        found = read_clip_frames(file.clip, rules, key.secret)
    except (StoreError, KeyboardInterrupt, SystemExit):
        raise
    except ReadError as error:
        return rejected(file, error.reason, error.remedy), []
    except BaseException as error:  # native libraries raise what is no Exception and cannot be pickled
        # the message of an unexpected error may quote the file: only its kind is told
        reason = f"could not be read (internal error: {type(error).__name__})"
        return rejected(file, reason, "report the kind of file and this error"), []
    shared = _shared(file, found, rules, key)
    about = {"file": file.file, "stamp": file.stamp, "name": file.name}
    return {**NOTHING_KNOWN, **_record(found), **shared, **about}, list(_rows(found, shared))


def _shared(file: SourceFile, found: ClipFrames, rules: IngestRules, key: ArchiveKey) -> dict[str, Any]:
    """What the record of a clip and its frames have in common."""
    source = found.header.source
    own = file.folder if rules.unnamed == "folder" else file.file
    study = source.get("study", "")
    patient = source.get("patient", "")
    # who names no patient is known by the study, who names no study by the folder
    patient = key.digest("patient", patient or study or own)
    return {
        "clip": key.digest("clip", source.get("sha256", file.file)),
        "study": key.digest("study", study or own),
        "patient": patient,
        "split": key.split_of(patient, rules.val_percent),
        "vendor": vendor_of(found.header.manufacturer),
        "probe": source.get("probe", ""),
        "content": str(found.header.content),
        "native_height": found.header.size[0],
        "native_width": found.header.size[1],
    }


def _record(found: ClipFrames) -> dict[str, Any]:
    header = found.header
    return {
        "outcome": SET_ASIDE if found.set_aside else INGESTED,
        "reason": found.set_aside,
        "frames_native": header.frame_count,
        "frames_sampled": found.sampled,
        "frames_kept": len(found.pixels),
        **_spacing(header.spacing),
        "flags": [str(flag) for flag in header.flags],
    }


def _rows(found: ClipFrames, shared: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if found.transform is None:
        return
    header, transform = found.header, found.transform
    spacing = _spacing(None if header.spacing is None else transform.map_spacing(header.spacing))
    matrix = [float(value) for value in transform.matrix.ravel()]
    for pixels, found_hash, frame in zip(found.pixels, found.hashes, found.frame_indices, strict=True):
        yield {
            **shared,
            **spacing,
            "jpeg": encode_frame(pixels),
            "frame": frame,
            "time_s": float(header.frame_times_s[frame]) if header.frame_times_known else None,
            "transform": matrix,
            "dhash": found_hash.tobytes(),
            "pixels": pixel_digest(pixels),
        }


def _spacing(spacing: Spacing | None) -> dict[str, float | None]:
    return {"row_mm": spacing.row_mm if spacing else None, "column_mm": spacing.column_mm if spacing else None}
