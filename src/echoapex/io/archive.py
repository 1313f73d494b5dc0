"""Walk through folders and zip archives: both in the same way, folder by folder, in the same order on every machine.

Zip archives are not trusted. Members are extracted under their bare names into a private folder, and the expanded size,
the number of members and the compression ratio are limited.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path, PurePosixPath

from echoapex.io.clip_source import ReadError, ReadLimits
from echoapex.io.file_format import FoundFile, FoundFolder, file_on_disk

_COPY_STEP = 1 << 20
_MOST_MEMBERS = 200_000
_HARMLESS_BYTES = 16 << 20
_ENCRYPTED = 0x1
_WINDOWS_DRIVE = re.compile(r"[A-Za-z]:")

_RESULT_FILES = frozenset({"results.json", "manifest.json"})


def walk_disk(root: Path, on_error: Callable[[OSError], None]) -> Iterator[FoundFolder]:
    """``root`` and every folder below it, sorted; hidden folders and EchoApex's own results are skipped.

    Linked folders are not followed, so a loop of links does no harm. ``on_error`` is called for every folder or file
    that cannot be read.
    """
    for folder, subfolders, names in os.walk(root, onerror=on_error):
        subfolders[:] = sorted(name for name in subfolders if not is_hidden(name))
        if set(names) >= _RESULT_FILES:
            subfolders.clear()
            continue
        here = Path(folder)
        above = here.relative_to(root).parts
        files = []
        for path in (here / name for name in sorted(names)):
            try:
                if path.is_file():
                    files.append(file_on_disk(path, (*above, path.name)))
            except (
                OSError
            ) as error:  # a folder that can be listed but not entered, or a file that was deleted meanwhile
                error.filename = str(path)
                on_error(error)
        yield FoundFolder(tuple(files))


def walk_archive(path: Path, parts: tuple[str, ...], members: list[zipfile.ZipInfo]) -> Iterator[FoundFolder]:
    """Every folder of an archive, built from its safe ``members``; ``parts`` is the path of the archive itself."""
    found = []
    for info in members:
        inner = PurePosixPath(info.filename.replace("\\", "/")).parts
        if not any(is_hidden(part) for part in inner[:-1]):
            found.append(FoundFile(path, info.filename, (*parts, *inner), info.file_size))
    found.sort(key=lambda file: (file.parts[:-1], file.name))
    for _, files in groupby(found, key=lambda file: file.parts[:-1]):
        yield FoundFolder(tuple(files))


def is_hidden(name: str) -> bool:
    """Whether a folder is hidden, or one that file managers add."""
    return name.startswith(".") or name == "__MACOSX"


def list_members(path: Path, display_name: str, limits: ReadLimits) -> tuple[list[zipfile.ZipInfo], list[ReadError]]:
    """The files of an archive that are safe to extract, sorted by name, and one error for each that is not.

    Only the directory of the archive is read. These members are refused: encrypted ones, names that are absolute or
    point outside the archive, links, and members that expand more than ``limits.max_archive_ratio`` times.

    Raises:
        ReadError: the archive is damaged or entirely encrypted, or its members exceed ``limits.max_archive_bytes``.
    """
    with opened_archive(path, display_name) as archive:
        members = sorted((info for info in archive.infolist() if not info.is_dir()), key=lambda info: info.filename)
    if len(members) > _MOST_MEMBERS:
        raise ReadError(display_name, f"holds more than {_MOST_MEMBERS} files", "give the studies one by one")
    if sum(info.file_size for info in members) > limits.max_archive_bytes:
        raise ReadError(
            display_name,
            f"would expand to more than the limit of {limits.max_archive_bytes >> 20} MiB",
            "unpack it yourself where you trust it, or raise the limit max_archive_bytes",
        )
    if members and all(info.flag_bits & _ENCRYPTED for info in members):
        raise ReadError(display_name, "is encrypted", "unpack it with its password and give the folder")
    safe: list[zipfile.ZipInfo] = []
    errors: list[ReadError] = []
    for info in members:
        refusal = _refusal(info, limits)
        if refusal is None:
            safe.append(info)
        else:
            member_name = PurePosixPath(info.filename.replace("\\", "/")).name or "member"
            errors.append(ReadError(f"{display_name}/{member_name}", *refusal))
    return safe, errors


def extract_members(path: Path, members: Sequence[str], folder: Path, display_name: str) -> list[Path]:
    """Extract members of one archive into ``folder`` under their bare names; returns their paths.

    Raises:
        ReadError: the archive or a member is damaged, or the disk is full.
    """
    written = []
    with opened_archive(path, display_name) as archive, _clean(display_name):
        for member in members:
            info = archive.getinfo(member)
            target = folder / PurePosixPath(member).name
            with archive.open(info) as source, target.open("xb") as copy:
                # zipfile stops at the size that the directory declares, which list_members has checked
                while block := source.read(_COPY_STEP):
                    copy.write(block)
            written.append(target)
    return written


@contextmanager
def opened_archive(path: Path, display_name: str) -> Iterator[zipfile.ZipFile]:
    """Open an archive and read its directory.

    Raises:
        ReadError: it is not a complete zip archive.
    """
    with _clean(display_name):
        archive = zipfile.ZipFile(path)
    with archive:
        yield archive


def read_member_head(archive: zipfile.ZipFile, member: str, count: int, display_name: str) -> bytes:
    """The first ``count`` bytes of a member.

    Raises:
        ReadError: the member is damaged.
    """
    with _clean(display_name), archive.open(member) as stream:
        return stream.read(count)
    raise AssertionError("unreachable: _clean raises or the read returns")


def _refusal(info: zipfile.ZipInfo, limits: ReadLimits) -> tuple[str, str] | None:
    """Why a member is not extracted and what to do, or None for a safe one."""
    name = info.filename.replace("\\", "/")
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted", "unpack it with its password and give the folder"
    if name.startswith("/") or _WINDOWS_DRIVE.match(name) or ".." in PurePosixPath(name).parts:
        return "its name in the archive points outside the archive", "do not trust this archive"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a symbolic link inside an archive", "pack the file itself"
    ratio = info.file_size / max(1, info.compress_size)
    if info.file_size > _HARMLESS_BYTES and ratio > limits.max_archive_ratio:
        return f"expands {ratio:.0f} times, as decompression bombs do", "unpack it yourself where you trust it"
    return None


@contextmanager
def _clean(display_name: str) -> Iterator[None]:
    """Turn any error of zipfile on a damaged archive into one ``ReadError``."""
    reason = ""
    try:
        yield
    except ReadError:
        raise
    except NotImplementedError:
        reason = "is packed by a method that cannot be read"
    except Exception:
        reason = "is a damaged or incomplete zip archive"
    if reason:
        raise ReadError(display_name, reason, "unpack it yourself and give the folder")
