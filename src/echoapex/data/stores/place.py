"""Where a frame store lies: a folder, or the URL of an object store such as ``s3://bucket/frames``.

Lance reads and writes its tables in both. The small files beside them (``manifest.json``, ``ledger.csv``) are written
here. In a folder they are replaced atomically; object stores guarantee that for every object.

Lance is an optional extra and is imported when first needed. It has threads of its own and does not survive a fork:
start worker processes by forkserver or spawn.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from echoapex.io.temporary_files import write_bytes_atomically

STORAGE_VERSION = "2.1"
"""The version of Lance's file format that stores are written in; readers of later versions read it too."""


class StoreError(ValueError):
    """A frame store that cannot be opened, read or written; the message says what to do."""


def import_lance() -> Any:
    """The module ``lance``.

    Raises:
        StoreError: it is not installed.
    """
    try:
        return importlib.import_module("lance")
    except ImportError as error:
        raise StoreError(
            "frame stores need the library Lance; install it with: pip install 'echoapex[ingest]'"
        ) from error


def import_arrow(name: str = "pyarrow") -> Any:
    """The module ``pyarrow`` or one inside it; it comes with Lance.

    Raises:
        StoreError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise StoreError(
            "frame stores need the library Lance; install it with: pip install 'echoapex[ingest]'"
        ) from error


class StorePlace:
    """The place of one store.

    Args:
        location: a folder, or a URL with a scheme that both Lance and Arrow know (``s3``, ``gs``, ``file``).
    """

    def __init__(self, location: Path | str) -> None:
        text = str(location)
        self._url = text.rstrip("/") if "://" in text else ""
        self.folder = None if self._url else Path(text).absolute()
        """The folder; None where the store lies at a URL."""

    def __str__(self) -> str:
        return self._url or str(self.folder)

    def uri(self, name: str) -> str:
        """What Lance opens: the place of the table called ``name``."""
        return f"{self._url}/{name}" if self._url else str(Path(str(self.folder)) / name)

    def read(self, name: str) -> bytes | None:
        """The content of a small file; None where there is none.

        Raises:
            StoreError: the URL cannot be reached.
        """
        if self.folder is not None:
            path = self.folder / name
            return path.read_bytes() if path.is_file() else None
        filesystem, base = self._filesystem()
        try:
            with filesystem.open_input_stream(f"{base}/{name}") as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreachable() from error

    def write(self, name: str, content: bytes) -> None:
        """Write a small file in the place of an earlier one.

        Raises:
            StoreError: the URL cannot be written to.
            OSError: the folder cannot be written to.
        """
        if self.folder is not None:
            write_bytes_atomically(self.folder / name, content)
            return
        filesystem, base = self._filesystem()
        try:
            if self._url.startswith("file://"):
                filesystem.create_dir(base, recursive=True)
            with filesystem.open_output_stream(f"{base}/{name}") as stream:
                stream.write(content)
        except OSError as error:
            raise self._unreachable() from error

    def _filesystem(self) -> tuple[Any, str]:
        try:
            filesystem, base = import_arrow("pyarrow.fs").FileSystem.from_uri(self._url)
        except (ValueError, OSError) as error:
            raise self._unreachable() from error
        return filesystem, str(base)

    def _unreachable(self) -> StoreError:
        scheme = self._url.partition("://")[0]
        return StoreError(
            f"the {scheme} URL of the store cannot be used; check the address, the credentials and the network"
        )
