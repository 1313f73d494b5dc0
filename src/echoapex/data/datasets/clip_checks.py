"""Checks of clip files: present, not forgotten in the list, readable, and of the size that the list says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from echoapex.data.datasets.inspection import Inspection
from echoapex.domain import ClipHeader
from echoapex.domain.geometry import Size
from echoapex.io.clip_source import ReadError, ReadFlag


@dataclass(frozen=True)
class ListedClip:
    """A clip that a list promises.

    Attributes:
        path: where it should be.
        size: ``(height, width)`` that the list gives, or None.
        frames: frame count that the list gives, or None.
    """

    path: Path
    size: Size | None = None
    frames: int | None = None


def check_presence(inspection: Inspection, listed: Iterable[ListedClip], extra: Iterable[Path]) -> list[ListedClip]:
    """Report listed clips that are not there, and files that no list names; returns the clips that are there.

    Args:
        inspection: where findings go; its count of usable clips grows by those that are there.
        listed: what the lists promise.
        extra: every clip file on disk.
    """
    there: list[ListedClip] = []
    known: set[Path] = set()
    for clip in listed:
        known.add(clip.path)
        if clip.path.exists():
            there.append(clip)
        else:
            inspection.error("missing file", clip.path, "is listed but not there", "download or unpack it again")
    for path in extra:
        if path not in known:
            inspection.warn(
                "unlisted file",
                path,
                "is there but in no list, so nothing is known of it",
                "remove it, or take the list of the same release",
            )
    inspection.usable += len(there)
    return there


def check_readable(inspection: Inspection, clips: Sequence[ListedClip]) -> None:
    """Decode clips (a sample unless every file was asked for) and hold them against the list."""
    for clip in inspection.chosen(clips):
        check_clip(inspection, clip)


def check_clip(inspection: Inspection, clip: ListedClip) -> None:
    """Decode one clip and hold it against the list."""
    try:
        header = decode_whole(clip.path)
    except ReadError as error:
        inspection.error("unreadable file", clip.path, error.reason, error.remedy)
        return
    if ReadFlag.TRUNCATED in header.flags:
        inspection.error("truncated file", clip.path, "ends before its last frame", "download it again")
    if clip.size is not None and header.size != clip.size:
        inspection.warn(
            "frame size",
            clip.path,
            f"is {header.size[1]} x {header.size[0]} pixels, the list says {clip.size[1]} x {clip.size[0]}",
            "take video and list of one release: points of the list are not pixels of this video",
        )
    if clip.frames is not None and header.frame_count != clip.frames:
        inspection.warn(
            "frame count",
            clip.path,
            f"has {header.frame_count} frames, the list says {clip.frames}",
            "take video and list of one release",
        )


def decode_whole(path: Path) -> ClipHeader:
    """Decode every frame of a clip of any format, one at a time; returns its header.

    Raises:
        ReadError: it cannot be read.
    """
    # the readers load slowly, and tables alone need none
    from echoapex.io.clip_file import open_clip
    from echoapex.io.study_files import find_clips

    # files of a public data set are called as it calls them
    for found in find_clips([path], keep_identifiers=True):
        if isinstance(found, ReadError):
            raise found
        opened = open_clip(found)
        for _ in opened.frames():
            pass
        return opened.header
    raise ReadError(path.name, "holds no clip", "download it again")
