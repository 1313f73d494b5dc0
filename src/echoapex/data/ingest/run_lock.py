"""One ingest into a store at once, on file systems that can promise it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from echoapex.data.lance_library import StoreError
from echoapex.data.store_place import StorePlace

LOCK_FILE = ".ingest.lock"


@contextmanager
def locked(place: StorePlace) -> Iterator[None]:
    """Hold a store; the system lets go of it when this process ends, however it ends.

    Object stores and Windows have no such lock: there nothing is held.

    Raises:
        StoreError: another ingest holds it, or its folder cannot be made.
    """
    if place.folder is None or os.name != "posix":
        yield
        return
    fcntl = importlib.import_module("fcntl")
    try:
        place.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(place.folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(f"the store cannot be made here ({error.strerror}); choose another --out") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(
                "another ingest into this store is running; wait for it, or choose another --out"
            ) from error
        yield
    finally:
        os.close(handle)
