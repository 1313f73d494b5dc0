"""What there is to do: the clips of an archive, in one order on every machine, a few at a time.

Searching reads only the heads of files. It goes on while the first units are already at work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from echoapex.data.ingest.archive_key import ArchiveKey
from echoapex.data.lance_library import StoreError
from echoapex.io.clip_file import ClipFile
from echoapex.io.clip_source import ReadError
from echoapex.io.study_files import find_clips
from echoapex.io.workspace import Workspace

CLIPS_PER_UNIT = 16
Names = Literal["digest", "path"]


@dataclass(frozen=True)
class SourceFile:
    """One file to ingest.

    Attributes:
        clip: how to open it.
        file: keyed digest of its path.
        stamp: keyed digest of size and modification time: a changed file is ingested anew.
        folder: keyed digest of its folder, for clips that name no patient.
        path: where it lies, for the key holder only: it may name the patient.
    name: what the ledger calls it.
    """

    clip: ClipFile
    file: str
    stamp: str
    folder: str
    path: str
    name: str


@dataclass(frozen=True)
class Unit:
    """A few files of one folder or archive: what a worker is given at once."""

    number: int
    files: tuple[SourceFile, ...]
    keeps: tuple[Workspace, ...] = field(default=(), repr=False, compare=False)
    """What must not be deleted before the unit is done; it stays in the process that planned."""

    def for_worker(self) -> Unit:
        """The unit without what cannot travel to another process."""
        files = tuple(replace(file, clip=replace(file.clip, keeps=None)) for file in self.files)
        return replace(self, files=files, keeps=())


def expand_lists(sources: Sequence[str | Path]) -> list[Path]:
    """Sources with ``@list.txt`` replaced by the paths in it, one a line; relative ones are beside the list.

    Raises:
        StoreError: a list cannot be read.
    """
    paths: list[Path] = []
    for source in map(str, sources):
        if not source.startswith("@"):
            paths.append(Path(source).absolute())
            continue
        listed = Path(source[1:]).absolute()
        try:
            lines = listed.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(
                f"{listed.name}: the list of files cannot be read; check its path and that it is text"
            ) from error
        paths += [listed.parent / line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return paths


@dataclass(frozen=True)
class UnreadableFile:
    """A file or folder that was met and cannot be a clip; ``path`` is what the search called it."""

    file: str
    path: str
    name: str
    reason: str
    remedy: str


def find_sources(paths: Sequence[Path], key: ArchiveKey, names: Names) -> Iterator[SourceFile | UnreadableFile]:
    """Find the clips, with their digests; an error for each file that cannot be one.

    Args:
        paths: folders, DICOMDIRs, zip archives and files.
        key: key of the digests.
        names: ``digest`` calls files by their digest; ``path`` by their path below the source, which may name patients.
    """
    for found in find_clips(paths, keep_identifiers=True):
        if isinstance(found, ReadError):
            file = key.digest("file", found.path)
            name = digest_name(file) if names == "digest" else found.path
            yield UnreadableFile(file, found.path, name, found.reason, found.remedy)
        else:
            yield _source_file(found, key, names)


def digest_name(file: str) -> str:
    """What the ledger calls a file where names are not shown."""
    return f"file-{file[:12]}"


def plan_units(files: Iterable[SourceFile]) -> Iterator[Unit]:
    """Group successive files of one folder or archive, so that most units hold clips of one study."""
    number = 0
    group: list[SourceFile] = []
    for file in files:
        if group and (len(group) >= CLIPS_PER_UNIT or file.folder != group[0].folder):
            yield _unit(number, group)
            number, group = number + 1, []
        group.append(file)
    if group:
        yield _unit(number, group)


def _unit(number: int, files: Sequence[SourceFile]) -> Unit:
    return Unit(number, tuple(files), tuple(file.clip.keeps for file in files if file.clip.keeps is not None))


def _source_file(clip: ClipFile, key: ArchiveKey, names: Names) -> SourceFile:
    members = "\x1f".join(clip.members)
    # an archive inside an archive is unpacked to a new place each time: its place says nothing
    path = clip.display_name if clip.keeps is not None else str(clip.path.resolve())
    inside = clip.members[0].rpartition("/")[0] if clip.is_packed and clip.members else ""
    folder = f"{path}\x1f{inside}" if clip.is_packed else str(clip.path.resolve().parent)
    file = key.digest("file", f"{path}\x1f{members}")
    return SourceFile(
        clip=clip,
        file=file,
        name=digest_name(file) if names == "digest" else clip.display_name,
        stamp=key.digest("stamp", _stamp(clip)),
        folder=key.digest("folder", folder),
        path=f"{path}!{clip.members[0]}" if clip.is_packed and clip.members else path,
    )


def _stamp(clip: ClipFile) -> str:
    """Size and time of last change of what would be read."""
    paths = [clip.path]
    if clip.members and not clip.is_packed and clip.path.is_dir():
        paths = [clip.path / member for member in clip.members]
    try:
        found = [path.stat() for path in paths]
    except OSError:
        return "unknown"
    if clip.keeps is not None:
        return f"{found[0].st_size}"
    return " ".join(f"{status.st_size} {status.st_mtime_ns}" for status in found)
