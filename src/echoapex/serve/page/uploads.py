"""Uploaded files become studies: checked, called by digests, and grouped by the study that they name.

Names of files are used to tell folders apart and for nothing else: no part of one is written, so none can lead out of
the folder. Archives stay packed; their directory is checked before anything is unpacked.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pydicom import dcmread

from echoapex.io.archive import extract_members, list_members, opened_archive, read_member_head
from echoapex.io.clip_source import ReadError, ReadLimits, muted_pydicom
from echoapex.io.deidentify import pseudonym
from echoapex.io.dicom.header import text_of
from echoapex.io.file_format import FORMAT_OF_SUFFIX, HEAD_BYTES, FileFormat, is_dicomdir, recognise, suffix_of
from echoapex.serve.page.page_config import PageLimits
from echoapex.serve.page.schemas import RefusedUpload, Uploaded
from echoapex.serve.page.security import PageError
from echoapex.serve.page.study_list import StudyList

_COPY_STEP = 1 << 20
_DIGEST_DIGITS = 32
_KEY_BYTES = 8
_NO_FORMAT = "is in no format that can be read; give DICOM, AVI, MP4, GIF, PNG, JPEG, NIfTI, MHD or zip"
_MOST_NAME = 4096


@dataclass(frozen=True)
class IncomingFile:
    """A file of an upload.

    Attributes:
        stream: its content.
        relative_name: what the browser calls it, with its folders.
    """

    stream: BinaryIO
    relative_name: str


@dataclass
class _Staged:
    """The files of an upload that were taken, by the study that they belong to and by their digest."""

    folder: Path
    groups: dict[str, dict[str, Path]] = field(default_factory=dict)
    refused: list[RefusedUpload] = field(default_factory=list)
    expanded: int = 0
    members: int = 0


class Uploads:
    """Takes uploads.

    Args:
        folder: where the files of each study go.
        limits: how much is taken.
        studies: the list that they join.
        secret: key of the pseudonyms by which studies are told apart.
    """

    def __init__(self, folder: Path, limits: PageLimits, studies: StudyList, secret: bytes) -> None:
        self._folder = folder
        self._limits = limits
        self._studies = studies
        self._secret = secret
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in folder.glob(".upload-*"):  # of a server that was killed
            shutil.rmtree(left, ignore_errors=True)

    def take(self, files: Sequence[IncomingFile]) -> Uploaded:
        """Make studies of files.

        Raises:
            PageError: there are too many, or there is no room.
        """
        if len(files) > self._limits.files:
            raise PageError(f"an upload may hold {self._limits.files} files; upload fewer at once", 413)
        with self._staging() as staged:
            for index, file in enumerate(files):
                self._take_file(file, index, staged)
            studies = [self._keep(paths.values()) for paths in staged.groups.values()]
        return Uploaded(studies=studies, refused=staged.refused)

    @contextmanager
    def _staging(self) -> Iterator[_Staged]:
        folder = self._folder / f".upload-{secrets.token_hex(_KEY_BYTES)}"
        folder.mkdir(mode=0o700)
        try:
            yield _Staged(folder)
        except OSError as error:
            raise PageError(f"the upload cannot be kept ({error.strerror}); make room on the disk", 507) from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _take_file(self, file: IncomingFile, index: int, staged: _Staged) -> None:
        try:
            path = self._copy(file, staged.folder)
            for group, found in self._grouped(path, file.relative_name, staged):
                staged.groups.setdefault(group, {}).setdefault(found.stem, found)
        except ReadError as error:
            place = f"file {index + 1}"
            staged.refused.append(RefusedUpload(file=place, index=index, reason=f"{error.reason}; {error.remedy}"))

    def _copy(self, file: IncomingFile, folder: Path) -> Path:
        """Write a file under its digest; only an ending that is known stays of its name."""
        if shutil.disk_usage(folder).free < self._limits.free_mb * 1_000_000:
            raise PageError("the disk of the server is nearly full; make room on it", 507)
        suffix = suffix_of(file.relative_name[-_MOST_NAME:])
        partial, digest, size = folder / f"partial-{secrets.token_hex(4)}", hashlib.sha256(), 0
        with partial.open("wb") as copy:
            while block := file.stream.read(_COPY_STEP):
                size += len(block)
                if size > self._limits.file_bytes:
                    raise ReadError("", f"is larger than {self._limits.file_mb:g} MB", "export it in parts")
                digest.update(block)
                copy.write(block)
        name = digest.hexdigest()[:_DIGEST_DIGITS] + (suffix if suffix in FORMAT_OF_SUFFIX else "")
        return partial.replace(folder / name)

    def _grouped(self, path: Path, relative_name: str, staged: _Staged) -> Iterator[tuple[str, Path]]:
        """The clips of a file, each with what tells its study from others.

        Raises:
            ReadError: the file is refused.
        """
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
        found = recognise(head)
        if found is None:
            raise ReadError("", *(_NO_FORMAT if head else "is empty; export it again").split("; ", 1))
        if found is FileFormat.ZIP:
            members = self._check_archive(path, staged)
            yield from self._unpack(path, members, staged) if members else [(f"archive {path.name}", path)]
        elif found is FileFormat.DICOM:
            if not is_dicomdir("", head):
                yield f"dicom {self._study_of(path)}", path
        else:
            above = PurePosixPath(relative_name.replace("\\", "/")).parts[:-1]
            yield f"folder {'/'.join(above)}", path

    def _unpack(self, path: Path, members: Sequence[str], staged: _Staged) -> Iterator[tuple[str, Path]]:
        """The DICOM files of an archive, under their digests."""
        for member in members:
            place = staged.folder / f"members-{secrets.token_hex(4)}"
            place.mkdir()
            (extracted,) = extract_members(path, [member], place, "")
            with extracted.open("rb") as stream:
                kept = self._copy(IncomingFile(stream, ""), staged.folder)
            extracted.unlink()
            yield f"dicom {self._study_of(kept)}", kept

    def _study_of(self, path: Path) -> str:
        try:
            with muted_pydicom():
                dataset = dcmread(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID", "SOPClassUID"])
                known = text_of(dataset, "StudyInstanceUID"), text_of(dataset, "SOPClassUID")
        except Exception:  # whatever a damaged data set makes a parser raise
            known = "", ""
        if not any(known):
            raise ReadError("", "is damaged: its header cannot be read", "export it again")
        return pseudonym(known[0], self._secret)

    def _check_archive(self, path: Path, staged: _Staged) -> list[str]:
        """Refuse an archive that is unsafe in any part, before anything of it is unpacked.

        Returns:
            Its DICOM files, if it holds no clips of another kind; otherwise it stays packed, and nothing is returned.
        """
        left = self._limits.expanded_bytes - staged.expanded
        members, errors = list_members(path, "", ReadLimits(max_archive_bytes=left))
        if errors:
            raise ReadError("", f"is an unsafe archive: a member {errors[0].reason}", errors[0].remedy)
        staged.expanded += sum(info.file_size for info in members)
        staged.members += len(members)
        if staged.members > self._limits.files:
            raise ReadError("", f"holds more than {self._limits.files} files", "pack fewer studies into it")
        found: dict[FileFormat | None, list[str]] = {}
        with opened_archive(path, "") as archive:
            for info in members:
                head = read_member_head(archive, info.filename, HEAD_BYTES, "")
                if not is_dicomdir(PurePosixPath(info.filename).name, head):
                    found.setdefault(recognise(head), []).append(info.filename)
        if FileFormat.ZIP in found:
            raise ReadError("", "holds another archive", "unpack it, and pack the clips alone")
        return found.get(FileFormat.DICOM, []) if set(found) <= {FileFormat.DICOM, None} else []

    def _keep(self, paths: Iterable[Path]) -> str:
        key = secrets.token_hex(_KEY_BYTES)
        place = self._folder / key
        place.mkdir(mode=0o700)
        for path in paths:
            os.link(path, place / path.name)  # another study may have the same file
        self._studies.add([place], key=key)
        return key
