"""A folder in an object store such as ``s3://bucket/study``: its files are fetched, and files are sent there.

Arrow (the extra ``s3``) knows the stores ``s3``, ``gs`` and ``file``. Credentials, region and the address of a private
server come from where its programs look: environment variables such as ``AWS_ENDPOINT_URL``, files in the home folder,
or ``?endpoint_override=HOST:PORT&scheme=http`` at the end of the URL. No message shows a URL, which may hold a secret.
"""

from __future__ import annotations

import importlib
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

_URL = re.compile(r"(s3|gs|file):/{1,3}([^/].*)", re.IGNORECASE)
_CHUNK_BYTES = 4 * 1024 * 1024
_THREADS = 8
_PARTIAL = ".partial"


class ObjectStoreError(ValueError):
    """An object store that cannot be used; the message says what to do."""


@dataclass(frozen=True)
class StoredFile:
    """A file in a store.

    Attributes:
        name: relative to the folder, with ``/`` between parts.
        place: for the store.
        size: in bytes.
    """

    name: str
    place: str
    size: int


def parse_store_url(text: str) -> str | None:
    """The URL that an argument means; None where it is a path of this machine.

    A path has one slash where a URL has two, so both are taken.

    >>> parse_store_url("s3:/bucket/study")
    's3://bucket/study'
    >>> parse_store_url("study/s3") is None
    True
    """
    found = _URL.fullmatch(text)
    if found is None:
        return None
    scheme = found.group(1).lower()
    return f"{scheme}://{'/' if scheme == 'file' else ''}{found.group(2)}"


class ObjectFolder:
    """A folder, or one file, in an object store.

    Args:
        url: for example ``s3://bucket/study``.

    Raises:
        ObjectStoreError: Arrow is not installed, or the URL cannot be used.
    """

    def __init__(self, url: str) -> None:
        try:
            self._arrow: Any = importlib.import_module("pyarrow.fs")
        except ImportError as error:
            raise ObjectStoreError("object stores need pyarrow: pip install 'echoapex[s3]'") from error
        self._scheme = url.partition("://")[0]
        with self._one_line_errors():
            self._filesystem, place = self._arrow.FileSystem.from_uri(url)
        self._place = str(place).rstrip("/")
        self._sent: dict[str, tuple[int, int]] = {}

    def files(self) -> list[StoredFile]:
        """All files below the folder, or the one file; none where nothing is there.

        Raises:
            ObjectStoreError: the store cannot be read, or holds a name that would leave the folder.
        """
        with self._one_line_errors():
            about = self._filesystem.get_file_info(self._place)
            if about.type == self._arrow.FileType.File:
                return [StoredFile(PurePosixPath(self._place).name, self._place, about.size)]
            selector = self._arrow.FileSelector(self._place, recursive=True, allow_not_found=True)
            below = self._filesystem.get_file_info(selector)
        found = [item for item in below if item.type == self._arrow.FileType.File]
        listed = [StoredFile(item.path[len(self._place) :].lstrip("/"), item.path, item.size) for item in found]
        for file in listed:
            if ".." in PurePosixPath(file.name).parts or "\\" in file.name or "\0" in file.name:
                raise ObjectStoreError("the store holds a name with '..' or a backslash; rename that object")
        return listed

    def download(self, folder: Path) -> int:
        """Fetch all files into a folder; returns how many.

        Raises:
            ObjectStoreError: the store cannot be read, or the files are larger than the room on the disk.
            OSError: the folder cannot be written to.
        """
        found = self.files()
        free = shutil.disk_usage(folder).free
        if sum(file.size for file in found) > free:
            raise ObjectStoreError(
                f"the files need more room than the {free / 1e9:.1f} GB that are free; set TMPDIR to another disk"
            )
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda file: self._fetch(file, folder), found))
        self._sent |= {file.name: _state_of(folder / file.name) for file in found}
        return len(found)

    def upload(self, folder: Path) -> int:
        """Send the files of a folder that are new or changed since they were fetched or sent; returns how many.

        They go in the order in which they were written. So what was sent before a crash is what an analysis had
        finished by then.

        Raises:
            ObjectStoreError: the store cannot be written to.
        """
        found = sorted((state[0], path, state) for path in _files_below(folder) if (state := _state_of(path)))
        changed = [(path, state) for _, path, state in found if self._sent.get(_name_in(folder, path)) != state]
        for path, state in changed:
            name = _name_in(folder, path)
            with self._one_line_errors():
                if self._scheme == "file":
                    self._filesystem.create_dir(str(PurePosixPath(f"{self._place}/{name}").parent), recursive=True)
                with path.open("rb") as source, self._filesystem.open_output_stream(f"{self._place}/{name}") as target:
                    shutil.copyfileobj(source, target, _CHUNK_BYTES)
            self._sent[name] = state
        return len(changed)

    def remove_missing(self, folder: Path) -> int:
        """Delete files in the store that the folder had when it was fetched and has no longer; returns how many.

        Raises:
            ObjectStoreError: the store cannot be written to.
        """
        gone = [name for name in self._sent if not (folder / name).exists()]
        for name in gone:
            with self._one_line_errors():
                self._filesystem.delete_file(f"{self._place}/{name}")
            del self._sent[name]
        return len(gone)

    def _fetch(self, file: StoredFile, folder: Path) -> None:
        target = folder / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._one_line_errors():
            source = self._filesystem.open_input_stream(file.place)
        with source, target.open("wb") as writer:
            while content := self._read(source):
                writer.write(content)
        if target.stat().st_size != file.size:
            raise ObjectStoreError("a file came cut short from the store; run the command again")

    def _read(self, source: Any) -> bytes:
        with self._one_line_errors():
            return bytes(source.read(_CHUNK_BYTES))

    @contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        """What Arrow says may hold the URL, and with it a secret."""
        try:
            yield
        except ObjectStoreError:
            raise
        except (ValueError, OSError) as error:
            what = f"the {self._scheme} store cannot be used ({type(error).__name__})"
            raise ObjectStoreError(f"{what}; check address, credentials and network") from None


def _files_below(folder: Path) -> Iterator[Path]:
    """Whole files; those that are being written have a name of their own."""
    return (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(_PARTIAL))


def _name_in(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _state_of(path: Path) -> tuple[int, int]:
    """When a file was written and how large it is; empty where it has gone in the meantime."""
    try:
        about = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (about.st_mtime_ns, about.st_size)
