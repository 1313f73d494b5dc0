"""De-identification: pseudonyms for identifiers and file names, and black pixels outside the ultrasound sector.

Many clips have names and dates burned into the margins, next to the ECG strip, colour bars and rulers. All of this lies
outside the sector, so blanking the outside removes it. Text written inside the sector stays.

People name files after patients, and no list of words can tell which part of a name identifies someone: two letters may
be a surname. So no part of a file name is shown or written unless the user asks for it. Files are called by a digest
made with a secret key. With the key, or with the saved map of names, a digest can be traced back to the file.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from echoapex.domain import Sector
from echoapex.io.sector import sector_mask

PUBLIC_KEY = b"echoapex pseudonym, version 1"
"""Key of pseudonyms if no secret key is given. They link the instances of a study, also between runs.

The key is public: anyone who knows an identifier can compute its pseudonym. Use a secret key to prevent this.
"""

_PSEUDONYM_DIGITS = 32

KEY_BYTES = 32

_DIGITS = 16
_STEM_LENGTH = 40
_STEM_DIGITS = 8
_SEPARATOR = "\x1f"


def pseudonym(identifier: str, key: bytes = PUBLIC_KEY) -> str:
    """A stable name that does not reveal the identifier: the first 128 bits of HMAC-SHA256, in hexadecimal.

    The pseudonym of an empty identifier is empty, so that unknown stays unknown.
    """
    if not identifier:
        return ""
    return hmac.new(key, identifier.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:_PSEUDONYM_DIGITS]


class KeyFileError(ValueError):
    """A key file that cannot be read or made; the message says what to do."""


def read_or_create_secret(path: Path) -> tuple[bytes, bool]:
    """Read a key file; if it is missing, make it with ``KEY_BYTES`` random bytes, readable by its owner only.

    Returns:
        The secret, and whether it was made now.

    Raises:
        KeyFileError: the file cannot be read or made, or holds no hexadecimal digits.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read_secret(path), False
    except OSError as error:
        raise KeyFileError(
            f"{path.name}: the key cannot be made here ({error.strerror}); choose another --key"
        ) from None
    secret = secrets.token_hex(KEY_BYTES)
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(secret + "\n")
    return bytes.fromhex(secret), True


def _read_secret(path: Path) -> bytes:
    try:
        return bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise KeyFileError(f"{path.name}: the key cannot be read ({error.strerror}); check --key") from None
    except ValueError:
        raise KeyFileError(f"{path.name}: holds no key (hexadecimal digits); check --key") from None


def deidentify_frame(
    frame: UInt8[np.ndarray, "height width *channels"], sector: Sector
) -> UInt8[np.ndarray, "height width *channels"]:
    """Blank everything outside the sector: text, ECG strip, colour bars, rulers.

    Args:
        frame: grey or RGB; it is not modified.
        sector: the ultrasound area in pixels of this frame; its polygon if it has one, else its box.

    Returns:
        A new frame of the same shape.
    """
    inside = sector_mask(sector, (frame.shape[0], frame.shape[1]))
    kept: UInt8[np.ndarray, "height width *channels"] = cv2.copyTo(frame, inside.astype(np.uint8))
    return kept


class FileNames:
    """Gives names to the files of one search.

    Args:
        key: secret key of the digests; by default a new one, so that names differ between runs.
        keep: show the original path below the folder that the user gave.

    Attributes:
        originals: shown name: location of the file; for the user only. Empty if names are kept.
    """

    def __init__(self, key: bytes | None = None, *, keep: bool = False) -> None:
        self._key = key or secrets.token_bytes(KEY_BYTES)
        self._keep = keep
        self._taken: set[str] = set()
        self.originals: dict[str, str] = {}

    def name_file(self, parts: Sequence[str], place: str) -> str:
        """The name of a file in error messages.

        Args:
            parts: its path below the folder that the user gave, part by part.
            place: its location, kept in ``originals``.
        """
        return self._name("file", parts, place, 1)

    def name_clip(self, parts: Sequence[str], place: str) -> tuple[str, str]:
        """The display name of a clip, and its ID, which is safe as a file name; both are unique.

        Args:
            parts: as for :meth:`name_file`.
            place: its location, kept in ``originals``.
        """
        number = 1
        while (name := self._name("clip", parts, place, number)) in self._taken:
            number += 1
        self._taken.add(name)
        return name, clip_id_of(name) if self._keep else name

    def _name(self, kind: str, parts: Sequence[str], place: str, number: int) -> str:
        if self._keep:
            shown = "".join(letter if letter.isprintable() else "?" for letter in "/".join(parts))
            return shown if number == 1 else f"{shown} ({number})"
        text = _SEPARATOR.join((*parts, str(number)))
        digest = hmac.new(self._key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()
        name = f"{kind}-{digest[:_DIGITS]}"
        self.originals.setdefault(name, place)
        return name


def clip_id_of(display_name: str) -> str:
    """A clip ID that is safe as a file name on every system: the stem of the display name and a digest of the whole.

    >>> clip_id_of("study 7/A4C.dcm")
    'A4C-f29a66be'
    """
    last = display_name.rsplit("/", 1)[-1]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", last.partition(".")[0] or last).strip("-")[:_STEM_LENGTH] or "clip"
    return f"{stem}-{hashlib.sha256(display_name.encode('utf-8', 'surrogateescape')).hexdigest()[:_STEM_DIGITS]}"
