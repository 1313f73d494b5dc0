"""Folders on disk and inside zip archives, walked alike: folder by folder, in one order on every machine."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

from echoapex.io.archive import opened_archive, read_member_head
from echoapex.io.dicom_values import clean_errors

_RESULT_FILES = frozenset({"results.json", "manifest.json"})


@dataclass(frozen=True)
class FoundFile:
    """One file, on disk or packed.

    Attributes:
        path: the file, or the archive that holds it.
        member: name inside the archive; empty for a file on disk.
        parts: the path below what the user gave, folder by folder, as it is (identifying words and all).
        size: bytes, expanded.
    """

    path: Path
    member: str
    parts: tuple[str, ...]
    size: int

    @property
    def name(self) -> str:
        """The bare file name."""
        return self.parts[-1]

    @property
    def key(self) -> tuple[str, str]:
        """The same for the same file, however it was reached."""
        return (str(self.path.resolve()), self.member)

    def read_head(self, count: int, display_name: str, archive: zipfile.ZipFile | None = None) -> bytes:
        """The first ``count`` bytes; ``archive`` spares opening the archive again.

        Raises:
            ReadError: the file cannot be read.
        """
        if not self.member:
            with clean_errors(display_name, "cannot be read"), self.path.open("rb") as stream:
                return stream.read(count)
        with self._archive(archive, display_name) as opened:
            return read_member_head(opened, self.member, count, display_name)

    def _archive(self, archive: zipfile.ZipFile | None, name: str) -> AbstractContextManager[zipfile.ZipFile]:
        return opened_archive(self.path, name) if archive is None else nullcontext(archive)


@dataclass(frozen=True)
class FoundFolder:
    """The files of one folder, sorted by name."""

    files: tuple[FoundFile, ...]

    def sibling(self, name: str) -> FoundFile | None:
        """The file of this name in the folder."""
        return next((file for file in self.files if file.name == name), None)


def file_on_disk(path: Path, parts: tuple[str, ...]) -> FoundFile:
    """A regular file on disk."""
    return FoundFile(path, "", parts, path.stat().st_size)


def walk_disk(root: Path, on_error: Callable[[OSError], None]) -> Iterator[FoundFolder]:
    """Every folder below ``root`` and itself, sorted; hidden ones and EchoApex's own results are passed over.

    Linked folders are not followed, so that a loop of links ends. ``on_error`` hears of unreadable folders and
    files.
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
            except OSError as error:  # a folder that may be listed but not entered, a file that went away
                error.filename = str(path)
                on_error(error)
        yield FoundFolder(tuple(files))


def walk_archive(path: Path, parts: tuple[str, ...], members: list[zipfile.ZipInfo]) -> Iterator[FoundFolder]:
    """Every folder of an archive whose safe ``members`` are given; ``parts`` name the archive itself."""
    found = []
    for info in members:
        inner = PurePosixPath(info.filename.replace("\\", "/")).parts
        if not any(is_hidden(part) for part in inner[:-1]):
            found.append(FoundFile(path, info.filename, (*parts, *inner), info.file_size))
    found.sort(key=lambda file: (file.parts[:-1], file.name))
    for _, files in groupby(found, key=lambda file: file.parts[:-1]):
        yield FoundFolder(tuple(files))


def is_hidden(name: str) -> bool:
    """Whether a folder is one that file managers hide or add."""
    return name.startswith(".") or name == "__MACOSX"
