"""Take identity out: pseudonyms for identifiers, and black for every pixel outside the ultrasound sector.

Names and dates are burned into the margins of many clips (as text), next to ECG strip, colour bars and rulers. All of
it lies outside the sector, so blanking what is outside removes it; text written into the sector itself stays.
"""

from __future__ import annotations

import hashlib
import hmac

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
