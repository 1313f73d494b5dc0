"""The secret key of a project: new UIDs, pseudonyms, file names and date shifts follow from it, and from nothing else.

The same key gives the same results in every run and on every machine, so no table of real identifiers is kept. Without
the key, nothing leads from a result back to the original.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from echoapex.io.deidentify import KeyFileError, read_or_create_secret

_SEPARATOR = "\x1f"
_SHIFT_DAYS = (30, 3650)
_DIGITS = 16
_LEAST_KEY_BYTES = 32


class ProjectKeyError(ValueError):
    """The key file cannot be read or made; the message says what to do."""


@dataclass(frozen=True)
class ProjectKey:
    """A secret key of at least 32 bytes.

    Raises:
        ProjectKeyError: the key is too short.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) < _LEAST_KEY_BYTES:
            raise ProjectKeyError(f"the key has fewer than {_LEAST_KEY_BYTES} bytes; make a new one")

    def derive(self, kind: str, text: str) -> bytes:
        """32 bytes that depend on the key, on the kind of value, and on the value: HMAC-SHA256."""
        message = f"deidentify{_SEPARATOR}{kind}{_SEPARATOR}{text}".encode("utf-8", "surrogateescape")
        return hmac.new(self.secret, message, hashlib.sha256).digest()

    def pseudonym(self, kind: str, text: str) -> str:
        """A stable name of 16 hexadecimal digits."""
        return self.derive(kind, text).hex()[:_DIGITS]

    def uid(self, original: str) -> str:
        """The new UID for an original one, under the UUID root 2.25 (PS3.5 B.2)."""
        return f"2.25.{uuid.UUID(bytes=self.derive('uid', original)[:16], version=5).int}"

    def shift_days(self, patient: str) -> int:
        """How many days the dates of a patient move back: 30 to 3,650, the same for all files of the patient."""
        low, high = _SHIFT_DAYS
        return low + int.from_bytes(self.derive("days", patient)[:8], "big") % (high - low + 1)


def read_or_create_project_key(path: Path) -> tuple[ProjectKey, bool]:
    """Read the key file; if it is missing, make it with a random key, readable by its owner only.

    Returns:
        The key, and whether it was made now.

    Raises:
        ProjectKeyError: the file cannot be read or made, or holds no key.
    """
    try:
        secret, made = read_or_create_secret(path)
        return ProjectKey(secret), made
    except KeyFileError as error:
        raise ProjectKeyError(str(error)) from None
    except ProjectKeyError:
        raise ProjectKeyError(f"{path.name}: holds no key of 64 hexadecimal digits; check --key") from None
