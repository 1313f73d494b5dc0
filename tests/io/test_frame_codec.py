"""Grey frames survive JPEG of quality 95 nearly unchanged, and always in the same way."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_studies import draw_fan_clip

from echoapex.io.still_image import decode_frame, encode_frame


def test_a_frame_comes_back_nearly_the_same() -> None:
    (frame,) = draw_fan_clip(1, frames=1)
    data = encode_frame(frame)
    assert data == encode_frame(np.asfortranarray(frame))
    back = decode_frame(data)
    assert back.dtype == np.uint8
    assert back.shape == frame.shape
    error = back.astype(float) - frame
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 40


def test_half_a_picture_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"JPEG|jpeg|Premature|marker"):
        decode_frame(encode_frame(np.zeros((64, 64), np.uint8))[:100])
