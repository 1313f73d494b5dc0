"""The work on one unit of an ingest: read its files, write their frames, report. Runs in any process, on any machine.

The frames that a store keeps of a clip are blank outside the sector, cropped, resized, and without repetitions: frozen
frames and frames that hardly differ from an earlier frame are left out.

The rule for repetitions: a frame is reduced to 16 rows of 17 pixels, and each pixel is compared with its right
neighbour. This gives 256 bits (a difference hash, Krawetz 2013). A frame is left out if its bits differ in at most
``near_duplicate_bits`` places from those of an earlier kept frame of the same clip. 256 bits are used instead of the
usual 64, because most of the 64 never change while a heart beats in a still sector.

The vendor is read from free text (Manufacturer, 0008,0070). Only words from a fixed list are returned, so that nothing
else leaks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from echoapex.data.ingest.plan import ArchiveKey, IngestRules, SourceFile, Unit, UnreadableFile
from echoapex.data.preprocess import prepare_frames
from echoapex.data.stores.frame_store_writer import write_fragments
from echoapex.data.stores.place import StoreError, StorePlace
from echoapex.domain import ClipHeader, ContentKind, FrameTransform, Spacing
from echoapex.io.clip_file import ClipFile, OpenedClip, open_clip
from echoapex.io.clip_source import ReadError
from echoapex.io.dicom.reader import vendor_of
from echoapex.io.local_engine import LostUnit
from echoapex.io.still_image import encode_frame

SIDE = 16
_STORED_CONTENT = (ContentKind.B_MODE, ContentKind.COLOUR_DOPPLER)
NO_SECTOR = "no ultrasound sector was found, so that text around it could not be blanked"
INGESTED, SET_ASIDE, REJECTED = "ingested", "set_aside", "rejected"
NOTHING_KNOWN: Mapping[str, Any] = {
    **dict.fromkeys(("reason", "remedy", "clip", "study", "patient", "split", "vendor", "probe", "content"), ""),
    **dict.fromkeys(("frames_native", "frames_sampled", "frames_kept", "native_height", "native_width"), 0),
    "row_mm": None,
    "column_mm": None,
    "flags": [],
}
"""The record of a file without any known content."""


def difference_hash(frame: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "32"]:
    """The 256 bits of a frame, eight to a byte, row by row."""
    small = cv2.resize(frame, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits(small[:, 1:] > small[:, :-1])


def hamming_distance(one: UInt8[np.ndarray, "*n 32"], other: UInt8[np.ndarray, "32"]) -> np.ndarray:
    """Number of bits in which hashes differ."""
    return np.asarray(np.bitwise_count(one ^ other).sum(axis=-1))


def mark_new(hashes: UInt8[np.ndarray, "frames 32"], near_duplicate_bits: int) -> Bool[np.ndarray, "frames"]:
    """Which frames to keep: those that differ in more bits from every earlier frame that is kept.

    Args:
        hashes: hashes of the frames of one clip, in their order.
        near_duplicate_bits: so many bits or fewer make a near-duplicate; -1 keeps every frame.
    """
    is_new = np.zeros(len(hashes), bool)
    for number, found in enumerate(hashes):
        is_new[number] = not (hamming_distance(hashes[is_new], found) <= near_duplicate_bits).any()
    return is_new


@dataclass(frozen=True, eq=False)
class ClipFrames:
    """The frames of one clip.

    Attributes:
        header: of the clip, with all its frames; ``header.source`` holds keyed digests only.
        pixels: the kept frames, uint8 ``(kept, size, size)``.
        hashes: their difference hashes, ``(kept, 32)``.
        frame_indices: their numbers in the clip.
        sampled: number of decoded frames.
        transform: native to stored pixels.
        set_aside: why nothing is kept; empty otherwise.
    """

    header: ClipHeader
    pixels: UInt8[np.ndarray, "kept size size"]
    hashes: UInt8[np.ndarray, "kept 32"]
    frame_indices: tuple[int, ...]
    sampled: int
    transform: FrameTransform | None
    set_aside: str = ""


def read_clip_frames(clip: ClipFile, rules: IngestRules, key: bytes) -> ClipFrames:
    """Decode a clip and keep frames by the rules.

    Args:
        clip: the clip.
        rules: size, sampling and what a near-duplicate is.
        key: key of the digests in the header.

    Raises:
        ReadError: the clip is damaged.
    """
    with closing(open_clip(clip, pseudonym_key=key)) as opened:
        header = opened.header
        if header.content not in _STORED_CONTENT:
            return _set_aside(header, header.content_reason, rules)
        prepared = prepare_frames(_Thinned(opened, rules.stride_of(header.frame_count)), rules.size)
    if prepared.sector is None:
        return _set_aside(header, NO_SECTOR, rules)
    hashes = np.stack([difference_hash(frame) for frame in prepared.pixels])
    is_new = mark_new(hashes, rules.near_duplicate_bits)
    stride = rules.stride_of(header.frame_count)
    return ClipFrames(
        header=header,
        pixels=prepared.pixels[is_new],
        hashes=hashes[is_new],
        frame_indices=tuple(int(row) * stride for row in np.flatnonzero(is_new)),
        sampled=len(prepared.pixels),
        transform=prepared.transform,
    )


class _Thinned:
    """A clip of which only every n-th frame is decoded."""

    def __init__(self, opened: OpenedClip, stride: int) -> None:
        self._opened = opened
        self._stride = stride
        self.header = replace(opened.header, frame_times_s=opened.header.frame_times_s[::stride])

    def frames(self) -> Iterator[UInt8[np.ndarray, "height width *channels"]]:
        """The frames that remain."""
        return self._opened.frames_every(self._stride)


def _set_aside(header: ClipHeader, reason: str, rules: IngestRules) -> ClipFrames:
    pixels = np.zeros((0, rules.size, rules.size), np.uint8)
    return ClipFrames(header, pixels, np.zeros((0, 32), np.uint8), (), 0, None, reason or "shows no 2D echo")


@dataclass(frozen=True)
class IngestJob:
    """What all units of a run share; travels to every worker."""

    rules: IngestRules
    secret: bytes
    location: str


@dataclass(frozen=True)
class UnitReport:
    """The result of a unit: uncommitted frames, and one record per file."""

    fragments: tuple[str, ...]
    records: tuple[dict[str, Any], ...]


Work = Callable[[Unit], UnitReport]
"""The work on one unit; it can be pickled."""
Outcome = UnitReport | LostUnit
"""What an engine makes of a unit."""


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
    except BaseException as error:  # native libraries raise objects that are no Exception and cannot be pickled
        # the message of an unexpected error may quote the file, so only its class is reported
        reason = f"could not be read (internal error: {type(error).__name__})"
        return rejected(file, reason, "report the kind of file and this error"), []
    shared = _shared(file, found, rules, key)
    about = {"file": file.file, "stamp": file.stamp, "name": file.name}
    return {**NOTHING_KNOWN, **_record(found), **shared, **about}, list(_rows(found, shared))


def _shared(file: SourceFile, found: ClipFrames, rules: IngestRules, key: ArchiveKey) -> dict[str, Any]:
    """Values that the record of a clip and its frames share."""
    source = found.header.source
    own = file.folder if rules.unnamed == "folder" else file.file
    study = source.get("study", "")
    patient = source.get("patient", "")
    # without a patient the study identifies the clip, without a study the folder
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
