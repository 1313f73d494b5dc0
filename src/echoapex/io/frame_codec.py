"""Single grey frames as JPEG bytes and back: how a frame store keeps pixels."""

from __future__ import annotations

import numpy as np
import simplejpeg
from jaxtyping import UInt8

FRAME_JPEG_QUALITY = 95


def encode_frame(frame: UInt8[np.ndarray, "height width"]) -> bytes:
    """A grey frame as baseline JPEG of quality 95; the same pixels give the same bytes."""
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(frame)[..., None], FRAME_JPEG_QUALITY, colorspace="GRAY"))


def decode_frame(data: bytes) -> UInt8[np.ndarray, "height width"]:
    """The pixels of a grey JPEG.

    Raises:
        ValueError: the bytes are no whole JPEG.
    """
    decoded: UInt8[np.ndarray, "height width"] = simplejpeg.decode_jpeg(data, colorspace="GRAY")[..., 0]
    return decoded
