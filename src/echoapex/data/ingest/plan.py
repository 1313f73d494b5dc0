"""The plan of an ingest: the clips of an archive in units of work, in the same order on every machine.

Searching reads only the first bytes of files, and continues while the first units are already processed.

The secret key of an archive gives digests that link the frames of one patient and cannot be reversed without the key.
The key never enters the store. A person who holds it can compute the digest of a known patient ID and so find that
patient's frames; nobody else can.

All frames of a store are made by the same rules (``IngestRules``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from echoapex.config import Config
from echoapex.data.stores.place import StoreError
from echoapex.io.clip_file import ClipFile
from echoapex.io.clip_source import ReadError
from echoapex.io.deidentify import KeyFileError, pseudonym, read_or_create_secret
from echoapex.io.study_files import find_clips
from echoapex.io.temporary_files import TemporaryFolder

_SHORTEST = 16
CLIPS_PER_UNIT = 16
Names = Literal["digest", "path"]


class ArchiveKey:
    """Keyed digests (HMAC-SHA256, 128 bits in hexadecimal), one name space for each kind of thing."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < _SHORTEST:
            raise StoreError(f"the key has less than {_SHORTEST} bytes; let echoapex ingest make one")
        self.secret = secret

    def digest(self, kind: str, value: str) -> str:
        """The digest of ``value`` as a ``kind``; equal values of different kinds have different digests."""
        return pseudonym(f"{kind}\x1f{value}", self.secret)

    @property
    def check(self) -> str:
        """A digest that identifies this key without revealing it."""
        return self.digest("key", "check")

    def split_of(self, patient: str, val_percent: float) -> str:
        """``val`` for the given percentage of patients, ``train`` for the others; the same at every ingest."""
        share = int(self.digest("split", patient)[:16], 16) / 2**64
        return "val" if share < val_percent / 100 else "train"


def read_or_create_key(path: Path) -> tuple[ArchiveKey, bool]:
    """Read the key file; if it is missing, create it with a random key, readable by its owner only.

    Returns:
        The key, and whether it was made now.

    Raises:
        StoreError: the file cannot be read or made, or holds no key.
    """
    try:
        secret, made = read_or_create_secret(path)
    except KeyFileError as error:
        raise StoreError(str(error)) from error
    return ArchiveKey(secret), made


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
    """A few files of one folder or archive: the work that a worker gets at once."""

    number: int
    files: tuple[SourceFile, ...]
    keeps: tuple[TemporaryFolder, ...] = field(default=(), repr=False, compare=False)
    """Temporary files that must exist until the unit is done; kept in the planning process."""

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
    """A file or folder that cannot be a clip; ``path`` is its name in the search."""

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
    """The name of a file in the ledger if paths are not shown."""
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
    # an archive inside an archive is unpacked to a new place each time, so the place identifies nothing
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
    """Size and modification time of the files that would be read."""
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


class IngestRules(Config):
    """How clips become frames."""

    size: int = Field(default=256, ge=32, le=1024)
    """Side of a stored frame in pixels."""
    stride: int = Field(default=1, ge=1)
    """Stride: one of this many frames is used."""
    max_frames: int = Field(default=64, ge=1, le=4096)
    """Largest number of frames of a clip that are decoded; a longer clip gets a larger stride."""
    near_duplicate_bits: int = Field(default=2, ge=-1, le=255)
    """A frame goes when its hash differs from that of an earlier kept frame of the clip in so many bits or fewer.
    -1 keeps all."""
    val_percent: float = Field(default=5.0, ge=0, le=100)
    """Share of patients for validation, drawn by their keyed digest."""
    unnamed: Literal["folder", "file"] = "folder"
    """Assignment of clips without a patient, such as videos: one patient per folder, or one patient per clip."""

    def stride_of(self, frame_count: int) -> int:
        """Stride of the frames used from a clip of ``frame_count`` frames."""
        return max(self.stride, -(-frame_count // self.max_frames))
