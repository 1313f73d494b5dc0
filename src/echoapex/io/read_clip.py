"""Read one clip of any format into memory, for scripts and notebooks."""

from __future__ import annotations

from pathlib import Path

from echoapex.domain import Clip
from echoapex.io.clip_source import ReadError, ReadLimits, load_clip
from echoapex.io.dicom import anonymous_name
from echoapex.io.study_files import OpenedClip, find_clips, open_clip


def read_clip(path: Path | str, *, keep_identifiers: bool = False, limits: ReadLimits | None = None) -> Clip:
    """Read the only clip at ``path``: a DICOM, video, image or volume file, or a folder or archive that holds one.

    Every frame is held in memory; stream long clips with ``open_clip(...).frames()`` instead.

    Args:
        path: the file or folder.
        keep_identifiers: put patient name, ID, dates and UIDs of DICOM into ``header.source``.
        limits: bounds on size and count.

    Returns:
        The clip, without identifiers unless they were asked for.

    Raises:
        ReadError: nothing there can be read, or there are several clips.
    """
    opened = open_only_clip(path, keep_identifiers=keep_identifiers, limits=limits)
    return load_clip(opened)


def open_only_clip(path: Path | str, *, keep_identifiers: bool = False, limits: ReadLimits | None = None) -> OpenedClip:
    """Open the only clip at ``path`` without decoding its frames; arguments as in :func:`read_clip`.

    Raises:
        ReadError: nothing there can be read, or there are several clips.
    """
    found = list(find_clips([path], limits=limits, keep_identifiers=keep_identifiers))
    clips = [item for item in found if not isinstance(item, ReadError)]
    if len(clips) == 1:
        return open_clip(clips[0], keep_identifiers=keep_identifiers, limits=limits)
    if found and not clips:
        raise next(item for item in found if isinstance(item, ReadError))
    name = Path(path).name if keep_identifiers else anonymous_name(Path(path))
    raise ReadError(name, f"holds {len(clips)} clips", "give the path of one clip, or use find_clips")
