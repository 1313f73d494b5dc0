"""A clip file that was found: where it is, what kind it is, and how to open it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from echoapex.domain import ClipHeader
from echoapex.io.archive import extract_members
from echoapex.io.clip_source import ClipSource, ReadError, ReadLimits
from echoapex.io.deidentify import PUBLIC_KEY
from echoapex.io.dicom.reader import DicomSource, open_dicom
from echoapex.io.still_image import open_image, open_image_series
from echoapex.io.temporary_files import TemporaryFolder
from echoapex.io.video import open_video
from echoapex.io.volume import open_volume


class ClipKind(StrEnum):
    """The kind of a clip, which decides which reader opens it."""

    DICOM = "dicom"
    VIDEO = "video"
    STILL_IMAGE = "still_image"
    IMAGE_SERIES = "image_series"
    VOLUME = "volume"


@dataclass(frozen=True)
class ClipFile:
    """A clip that was found but not read yet.

    Attributes:
        path: the file, the folder of an image series, or the archive that holds the clip.
        kind: what it is, judged by its content.
        display_name: the name shown to people: a keyed digest, or on request the path that the user knows.
        clip_id: unique within one search, and safe as a file name.
        members: names inside the archive, or names of the images of a series; the first one is opened.
        is_packed: whether the members are in a zip archive; they are extracted when the clip is opened.
        flags: flags for the clip's header.
        work_dir: where packed clips are extracted; by default the system's folder for temporary files.
        keeps: a temporary folder that must live as long as this clip (for an archive inside an archive).
    """

    path: Path
    kind: ClipKind
    display_name: str
    clip_id: str
    members: tuple[str, ...] = ()
    is_packed: bool = False
    flags: tuple[str, ...] = ()
    work_dir: Path | None = None
    keeps: TemporaryFolder | None = field(default=None, repr=False, compare=False)


class OpenedClip:
    """A clip source with the name from the search; extracted files of a packed clip are deleted together with it."""

    def __init__(self, source: ClipSource, header: ClipHeader, workspace: TemporaryFolder | None, path: Path) -> None:
        self._source = source
        self._path = path
        self._header = header
        self._workspace = workspace

    @property
    def header(self) -> ClipHeader:
        """Everything that is known without decoding all frames."""
        return self._header

    @property
    def dicom_path(self) -> Path | None:
        """The DICOM file, there until ``close``; None for a clip of another kind."""
        return self._path if isinstance(self._source, DicomSource) else None

    def frames(self) -> Iterator[UInt8[np.ndarray, "height width *channels"]]:
        """Decode the frames one at a time; a second call starts again at the first frame.

        Raises:
            ReadError: a frame cannot be decoded.
        """
        yield from self._source.frames()

    def frames_every(self, stride: int) -> Iterator[UInt8[np.ndarray, "height width *channels"]]:
        """The first frame and every ``stride``-th after it; separately stored frames in between are not decoded.

        Raises:
            ReadError: a frame cannot be decoded.
        """
        if isinstance(self._source, DicomSource):
            yield from self._source.frames_every(stride)
        else:
            yield from islice(self._source.frames(), 0, None, stride)

    def close(self) -> None:
        """Delete extracted files now; frames cannot be read any more."""
        if self._workspace is not None:
            self._workspace.delete()


def open_clip(
    file: ClipFile,
    *,
    keep_identifiers: bool = False,
    limits: ReadLimits | None = None,
    pseudonym_key: bytes = PUBLIC_KEY,
) -> OpenedClip:
    """Open a clip with the reader for its kind; a packed clip is first extracted to a private folder.

    Args:
        file: the clip.
        keep_identifiers: also put the DICOM identifiers into ``header.source``.
        limits: limits on size and number of frames.
        pseudonym_key: key of the digests in ``header.source``; a secret key adds a digest of the patient.

    Raises:
        ReadError: the clip is damaged or exceeds the limits.
    """
    limits = limits or ReadLimits()
    if not file.is_packed:
        return _opened(file, file.path, None, _Reading(keep_identifiers, limits, pseudonym_key))
    workspace = TemporaryFolder(file.work_dir)
    try:
        extracted = extract_members(file.path, file.members, workspace.folder, file.display_name)
        path = workspace.folder if file.kind is ClipKind.IMAGE_SERIES else extracted[0]
        return _opened(file, path, workspace, _Reading(keep_identifiers, limits, pseudonym_key))
    except BaseException:
        workspace.delete()
        raise


@dataclass(frozen=True)
class _Reading:
    """How to read a clip."""

    keep_identifiers: bool
    limits: ReadLimits
    pseudonym_key: bytes


def _opened(file: ClipFile, path: Path, workspace: TemporaryFolder | None, reading: _Reading) -> OpenedClip:
    source = _source(file, path, reading)
    header = replace(source.header, clip_id=file.clip_id).with_flags(*file.flags)
    return OpenedClip(source, header, workspace, path)


def _source(file: ClipFile, path: Path, reading: _Reading) -> ClipSource:
    name, limits = file.display_name, reading.limits
    if file.kind is ClipKind.DICOM:
        return open_dicom(
            path,
            display_name=name,
            keep_identifiers=reading.keep_identifiers,
            limits=limits,
            pseudonym_key=reading.pseudonym_key,
        )
    if file.kind is ClipKind.VIDEO:
        return open_video(path, display_name=name, limits=limits)
    if file.kind is ClipKind.STILL_IMAGE:
        return open_image(path, display_name=name, limits=limits)
    if file.kind is ClipKind.VOLUME:
        return open_volume(path, display_name=name, limits=limits)
    names = [Path(member).name for member in file.members]
    if not names:
        raise ReadError(name, "holds no image", "give a folder of numbered PNG or JPEG images")
    return open_image_series([path / each for each in names], display_name=name, limits=limits)
