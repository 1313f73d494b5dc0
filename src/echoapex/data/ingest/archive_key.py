"""The secret key of an archive: digests that link frames of one patient and cannot be turned back without it.

The key never enters the store. Whoever holds it can compute the digest of a known patient ID and so find that patient's
frames; nobody else can.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from echoapex.data.lance_library import StoreError
from echoapex.io.deidentify import pseudonym

_KEY_BYTES = 32
_SHORTEST = 16


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
        """Tells this key from others without revealing it."""
        return self.digest("key", "check")

    def split_of(self, patient: str, val_percent: float) -> str:
        """``val`` for so many percent of the patients and ``train`` for the others; the same at every ingest."""
        share = int(self.digest("split", patient)[:16], 16) / 2**64
        return "val" if share < val_percent / 100 else "train"


def read_or_create_key(path: Path) -> tuple[ArchiveKey, bool]:
    """The key in a file, which is made with a random key, readable by its owner only, when it is missing.

    Returns:
        The key, and whether it was made now.

    Raises:
        StoreError: the file cannot be read or made, or holds no key.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read_key(path), False
    except OSError as error:
        raise StoreError(
            f"{path.name}: the key cannot be made here ({error.strerror}); choose another --key"
        ) from error
    secret = secrets.token_hex(_KEY_BYTES)
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(secret + "\n")
    return ArchiveKey(bytes.fromhex(secret)), True


def _read_key(path: Path) -> ArchiveKey:
    try:
        return ArchiveKey(bytes.fromhex(path.read_text(encoding="ascii").strip()))
    except OSError as error:
        raise StoreError(f"{path.name}: the key cannot be read ({error.strerror}); check --key") from error
    except (UnicodeDecodeError, ValueError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path.name}: holds no key (hexadecimal digits); check --key") from error
