"""Take identity out: pseudonyms for identifiers, and black for every pixel outside the ultrasound sector.

Names and dates are burned into the margins of many clips (as text), next to ECG strip, colour bars and rulers. All of
it lies outside the sector, so blanking what is outside removes it; text written into the sector itself stays.

What files are called in everything that is shown or written: a keyed digest, since people name files after patients.

No list of words can tell what in a name identifies: two letters may be a surname. So nothing of a name is shown unless
the user asks for it. The digest is made with a secret key; whoever has the key or the map of names can go back.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from echoapex.domain import Sector
from echoapex.io.sector import sector_mask

PUBLIC_KEY = b"echoapex pseudonym, version 1"
"""Key of pseudonyms when no secret is given: they link the instances of a study, also between runs.

Whoever knows an identifier can then recompute its pseudonym; give a secret key where that matters.
"""

_PSEUDONYM_DIGITS = 32


def pseudonym(identifier: str, key: bytes = PUBLIC_KEY) -> str:
    """A stable name for an identifier that does not reveal it: HMAC-SHA256, the first 128 bits in hexadecimal.

    An empty identifier has the empty pseudonym, so that unknown stays unknown.
    """
    if not identifier:
        return ""
    return hmac.new(key, identifier.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:_PSEUDONYM_DIGITS]


def deidentify_frame(
    frame: UInt8[np.ndarray, "height width *channels"], sector: Sector
) -> UInt8[np.ndarray, "height width *channels"]:
    """The frame with everything outside the sector black: text, ECG strip, colour bars, rulers.

    Args:
        frame: grey or RGB; it is not changed.
        sector: the ultrasound area in pixels of this frame; its polygon where it has one, else its box.

    Returns:
        A new frame of the same shape.
    """
    inside = sector_mask(sector, (frame.shape[0], frame.shape[1]))
    kept: UInt8[np.ndarray, "height width *channels"] = cv2.copyTo(frame, inside.astype(np.uint8))
    return kept


KEY_BYTES = 32

_DIGITS = 16
_STEM_LENGTH = 40
_STEM_DIGITS = 8
_SEPARATOR = "\x1f"


class FileNames:
    """Names the files of one search.

    Args:
        key: secret of the digests; a new one without it, so that names differ from run to run.
        keep: show the path below what the user gave, as it is.

    Attributes:
        originals: by the name that is shown, where the file lies; for the user alone. Empty when names are kept.
    """

    def __init__(self, key: bytes | None = None, *, keep: bool = False) -> None:
        self._key = key or secrets.token_bytes(KEY_BYTES)
        self._keep = keep
        self._taken: set[str] = set()
        self.originals: dict[str, str] = {}

    def name_file(self, parts: Sequence[str], place: str) -> str:
        """What a file is called in an error.

        Args:
            parts: its path below what the user gave, folder by folder.
            place: where it lies, for the map.
        """
        return self._name("file", parts, place, 1)

    def name_clip(self, parts: Sequence[str], place: str) -> tuple[str, str]:
        """What a clip is called, and its ID, which is safe as a file name; both are new each time.

        Args:
            parts: as for :meth:`name_file`.
            place: where it lies, for the map.
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
    """A name for a clip that is safe as a file name anywhere: the stem of its display name and a digest of the whole.

    >>> clip_id_of("study 7/A4C.dcm")
    'A4C-f29a66be'
    """
    last = display_name.rsplit("/", 1)[-1]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", last.partition(".")[0] or last).strip("-")[:_STEM_LENGTH] or "clip"
    return f"{stem}-{hashlib.sha256(display_name.encode('utf-8', 'surrogateescape')).hexdigest()[:_STEM_DIGITS]}"
