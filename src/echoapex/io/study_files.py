"""Find every clip in files, folders, DICOMDIRs and zip archives, and read a single clip into memory.

Files are recognised by their content, never by their name alone. While walking a folder, files that are clearly not
clips (text, tables, system files) are skipped silently. A file that was named explicitly is read, or refused with a
reason.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from echoapex.domain import Clip
from echoapex.io.archive import (
    extract_members,
    is_hidden,
    list_members,
    opened_archive,
    read_member_head,
    walk_archive,
    walk_disk,
)
from echoapex.io.clip_file import ClipFile, ClipKind, OpenedClip, open_clip
from echoapex.io.clip_source import ReadError, ReadFlag, ReadLimits, load_clip
from echoapex.io.deidentify import FileNames
from echoapex.io.dicom.dicomdir import referenced_files
from echoapex.io.dicom.reader import anonymous_name
from echoapex.io.file_format import (
    FORMAT_OF_SUFFIX,
    HEAD_BYTES,
    IMAGE_FORMATS,
    VIDEO_FORMATS,
    VOLUME_FORMATS,
    FileFormat,
    FoundFile,
    FoundFolder,
    file_on_disk,
    is_dicomdir,
    is_text,
    recognise,
    suffix_of,
)
from echoapex.io.meta_image import data_file_name
from echoapex.io.still_image import frame_number, is_numbered_series
from echoapex.io.temporary_files import TemporaryFolder

__all__ = ["ClipFile", "ClipKind", "OpenedClip", "find_clips", "open_clip"]

_KNOWN_FORMATS = "DICOM, AVI, MP4, GIF, PNG, JPEG, NIfTI, MHD or zip"
_JUNK_NAMES = frozenset({"thumbs.db", "desktop.ini", "icon\r"})
_JUNK_SUFFIXES = frozenset(
    [
        *(".txt", ".md", ".rst", ".log", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".ppt", ".pptx", ".html", ".htm"),
        *(".json", ".csv", ".tsv", ".xml", ".ini", ".cfg", ".inf", ".yaml", ".yml", ".toml", ".sha256", ".md5"),
        *(".npz", ".npy", ".safetensors", ".py", ".js", ".css", ".exe", ".dll", ".ico", ".db"),
    ]
)
_DATA_SUFFIXES = frozenset({".raw", ".zraw"})
_ANNOTATION_ENDINGS = ("_gt.nii.gz", "_gt.nii", "_gt.mhd", "_gt.mha")


def find_clips(
    paths: Sequence[Path | str],
    *,
    limits: ReadLimits | None = None,
    work_dir: Path | None = None,
    keep_identifiers: bool = False,
    names: FileNames | None = None,
) -> Iterator[ClipFile | ReadError]:
    """Find the clips in files, folders (recursively), DICOMDIRs and zip archives (with zip archives one level deep).

    A folder with only the images of one numbered series is one clip. A file that is reached twice is found once.
    ``*_gt`` volumes in a folder are annotations, not clips. Results of an earlier analysis are skipped.

    Args:
        paths: files and folders, in the order of the search.
        limits: limits on the expanded size of archives.
        work_dir: where packed files are extracted while they are open.
        keep_identifiers: show original names instead of keyed digests.
        names: names the files and remembers their original names; by default a new one with its own key.

    Yields:
        A clip, or an error for a file that cannot be read; the search goes on after an error.
    """
    search = _Search(limits or ReadLimits(), work_dir, names or FileNames(keep=keep_identifiers))
    for path in paths:
        yield from search.argument(Path(path))


def read_clip(path: Path | str, *, keep_identifiers: bool = False, limits: ReadLimits | None = None) -> Clip:
    """Read the only clip at ``path``: a DICOM, video, image or volume file, or a folder or archive that holds one.

    All frames are kept in memory; for long clips, iterate over ``open_clip(...).frames()`` instead.

    Args:
        path: the file or folder.
        keep_identifiers: also put patient name, ID, dates and UIDs of DICOM into ``header.source``.
        limits: limits on size and number of frames.

    Returns:
        The clip, without identifiers unless they were requested.

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


class _Search:
    """State of one search: the files seen so far, and their names."""

    def __init__(self, limits: ReadLimits, work_dir: Path | None, names: FileNames) -> None:
        self._limits = limits
        self._work_dir = work_dir
        self._names = names
        self._seen: set[tuple[str, str]] = set()

    def argument(self, path: Path) -> Iterator[ClipFile | ReadError]:
        """All clips of one path that the user gave."""
        try:
            if path.is_dir():
                unreadable: list[OSError] = []
                for folder in walk_disk(path, unreadable.append):
                    yield from self._folder(folder)
                for error in unreadable:
                    place = Path(str(error.filename))
                    name = self._names.name_file((place.name,), str(place))
                    yield ReadError(name, "cannot be read", "check the permissions of the file or folder")
                return
            if path.is_file():
                yield from self._file(file_on_disk(path, (path.name,)), None, is_explicit=True)
                return
            reason = "is no regular file" if path.exists() else "does not exist"
        except (OSError, ValueError):  # ValueError: a NUL character in the path
            reason = "cannot be read"
        yield ReadError(self._names.name_file((path.name or str(path),), str(path)), reason, "check the path")

    def _folder(
        self,
        folder: FoundFolder,
        archive: zipfile.ZipFile | None = None,
        depth: int = 0,
        keeps: TemporaryFolder | None = None,
    ) -> Iterator[ClipFile | ReadError]:
        context = _Context(folder, archive, depth, keeps)
        candidates = [file for file in folder.files if not _is_ignorable_name(file.name)]
        if is_numbered_series([file.name for file in candidates]) and self._are_images(candidates, archive):
            yield from self._series(candidates, context)
            return
        # a DICOMDIR comes first, because it defines the order of the clips on a medium
        for file in sorted(folder.files, key=lambda file: file.name.upper() != "DICOMDIR"):
            yield from self._file(file, context, is_explicit=False)

    def _are_images(self, files: Sequence[FoundFile], archive: zipfile.ZipFile | None) -> bool:
        try:
            heads = [_head_of(file, 16, file.name, archive) for file in files]
        except ReadError:
            return False
        return all(recognise(head) in IMAGE_FORMATS for head in heads)

    def _series(self, files: Sequence[FoundFile], context: _Context) -> Iterator[ClipFile | ReadError]:
        files = sorted(files, key=lambda file: frame_number(file.name))
        if not self._is_new(files[0]):
            return
        for file in files[1:]:
            self._is_new(file)
        parts = files[0].parts[:-1] or (files[0].path.resolve().parent.name,)
        is_packed = bool(files[0].member)
        folder = files[0].member.rpartition("/")[0] if is_packed else ""
        place = f"{files[0].path}!{folder}" if is_packed else str(files[0].path.parent)
        name, clip_id = self._names.name_clip(parts, place)
        yield ClipFile(
            path=files[0].path if is_packed else files[0].path.parent,
            kind=ClipKind.IMAGE_SERIES,
            display_name=name,
            clip_id=clip_id,
            members=tuple(file.member or file.name for file in files),
            is_packed=is_packed,
            work_dir=self._work_dir,
            keeps=context.keeps,
        )

    def _file(self, file: FoundFile, context: _Context | None, *, is_explicit: bool) -> Iterator[ClipFile | ReadError]:
        if (not is_explicit and _is_ignorable_name(file.name)) or not self._is_new(file):
            return
        if context is None:
            context = _Context(FoundFolder((file,)), None, 0, None)
        try:
            head = _head_of(file, HEAD_BYTES, self._display(file), context.archive)
            found = recognise(head)
            if found is None:
                error = self._unknown(file, head, context.folder, is_explicit)
                if error is not None:
                    yield error
            elif found is FileFormat.ZIP:
                yield from self._zip(file, context)
            elif found is FileFormat.DICOM and is_dicomdir(file.name, head):
                yield from self._dicomdir(file, is_explicit)
            else:
                yield self._clip(file, found, head, context)
        except ReadError as error:
            yield error
        except OSError:  # a file that was deleted meanwhile, or an impossible name
            yield ReadError(self._display(file), "cannot be read", "check the path and its permissions")

    def _unknown(self, file: FoundFile, head: bytes, folder: FoundFolder, is_explicit: bool) -> ReadError | None:
        """The error for a file of unknown format, or None if it is skipped silently."""
        suffix = suffix_of(file.name)
        promised = FORMAT_OF_SUFFIX.get(suffix)
        if suffix in _DATA_SUFFIXES and any(suffix_of(other.name) == ".mhd" for other in folder.files):
            return None
        if not is_explicit and promised is None and is_text(head):
            return None
        name = self._display(file)
        if not head:
            return ReadError(name, "is empty", "copy or export the file again")
        if promised is not None:
            return ReadError(name, f"is no {promised.value} file, as its name says", "check that the file is whole")
        return ReadError(name, "is in no format that can be read", f"give {_KNOWN_FORMATS}")

    def _clip(self, file: FoundFile, found: FileFormat, head: bytes, context: _Context) -> ClipFile:
        name, clip_id = self._names.name_clip(file.parts, _place(file))
        members = (file.member,) if file.member else ()
        data_file = context.folder.sibling(data_file_name(head)) if found is FileFormat.META_IMAGE else None
        if file.member and data_file is not None and data_file is not file:
            members = (*members, data_file.member)
        promised = FORMAT_OF_SUFFIX.get(suffix_of(file.name), found)
        return ClipFile(
            path=file.path,
            kind=_kind_of(found),
            display_name=name,
            clip_id=clip_id,
            members=members,
            is_packed=bool(file.member),
            flags=() if promised is found else (ReadFlag.WRONG_EXTENSION,),
            work_dir=self._work_dir,
            keeps=context.keeps,
        )

    def _zip(self, file: FoundFile, context: _Context) -> Iterator[ClipFile | ReadError]:
        name = self._display(file)
        if context.depth > 1:
            raise ReadError(name, "is a zip archive inside a zip archive inside a zip archive", "unpack it yourself")
        path, keeps = file.path, context.keeps
        if file.member:
            keeps = TemporaryFolder(self._work_dir)
            path = extract_members(file.path, [file.member], keeps.folder, name)[0]
        members, errors = list_members(path, name, self._limits)
        for error in errors:
            member = error.path.rpartition("/")[2]
            shown = self._names.name_file((*file.parts, member), f"{_place(file)}!{member}")
            yield ReadError(shown, error.reason, error.remedy)
        if not members and not errors:
            raise ReadError(name, "is an empty zip archive", "pack the study again")
        with opened_archive(path, name) as archive:
            for folder in walk_archive(path, file.parts, members):
                yield from self._folder(folder, archive, context.depth + 1, keeps)

    def _dicomdir(self, file: FoundFile, is_explicit: bool) -> Iterator[ClipFile | ReadError]:
        if file.member:
            return  # the files that it references are in the same archive and are found there
        for found in referenced_files(file.path, self._display(file), self._limits):
            if isinstance(found, ReadError):
                yield found
                continue
            below = found.relative_to(file.path.parent).parts
            try:
                entry = file_on_disk(found, (*file.parts[:-1], *below))
            except OSError:
                name = self._names.name_file((*file.parts[:-1], *below), str(found))
                yield ReadError(name, "cannot be read", "check its permissions")
            else:
                yield from self._file(entry, None, is_explicit=is_explicit)

    def _is_new(self, file: FoundFile) -> bool:
        if file.key in self._seen:
            return False
        self._seen.add(file.key)
        return True

    def _display(self, file: FoundFile) -> str:
        """The name of a file in error messages."""
        return self._names.name_file(file.parts, _place(file))


class _Context:
    """Where a file was found: its folder, the opened archive around it, and the nesting depth of archives."""

    def __init__(
        self, folder: FoundFolder, archive: zipfile.ZipFile | None, depth: int, keeps: TemporaryFolder | None
    ) -> None:
        self.folder = folder
        self.archive = archive
        self.depth = depth
        self.keeps = keeps


def _head_of(file: FoundFile, count: int, display_name: str, archive: zipfile.ZipFile | None) -> bytes:
    """The first bytes of a file on disk, or of a member of an opened archive."""
    if archive is None:
        return file.read_head(count, display_name)
    return read_member_head(archive, file.member, count, display_name)


def _is_ignorable_name(name: str) -> bool:
    lower = name.lower()
    return (
        is_hidden(name)
        or lower in _JUNK_NAMES
        or suffix_of(lower) in _JUNK_SUFFIXES
        or lower.endswith(_ANNOTATION_ENDINGS)
    )


def _place(file: FoundFile) -> str:
    """The location of a file, as written to the map of names."""
    return f"{file.path}!{file.member}" if file.member else str(file.path)


def _kind_of(found: FileFormat) -> ClipKind:
    if found in VIDEO_FORMATS:
        return ClipKind.VIDEO
    if found in IMAGE_FORMATS:
        return ClipKind.STILL_IMAGE
    return ClipKind.VOLUME if found in VOLUME_FORMATS else ClipKind.DICOM
