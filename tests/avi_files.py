"""Grey frames as AVI files (Motion JPEG), as public data sets distribute them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from echoapex.io.pictures import open_video_writer


def write_avi(path: Path, frames: np.ndarray, rate_hz: float = 25.0) -> Path:
    """Write uint8 (frames, height, width); both sides even."""
    with open_video_writer(path, (frames.shape[1], frames.shape[2]), rate_hz) as write:
        for frame in frames:
            write(np.repeat(frame[..., None], 3, axis=2))
    return path
