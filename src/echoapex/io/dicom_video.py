"""Frames of a video stream inside DICOM (MPEG-2, MPEG-4 AVC, HEVC; PS3.5 section 8.2.5 on), by PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import av
import numpy as np
from jaxtyping import UInt8

from echoapex.io.clip_source import ReadError, ReadLimits
from echoapex.io.dicom_fragments import FragmentStream


def decode_video(
    stream: FragmentStream, limits: ReadLimits, display_name: str
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Decode a stream frame by frame, in display order.

    Args:
        stream: the joined fragments of the pixel element, at their start.
        limits: size and count that the stream may not exceed.
        display_name: name of the file in the error.

    Yields:
        RGB frames.

    Raises:
        ReadError: there is no video stream, or it exceeds the limits.
    """
    with _open_container(stream) as container:
        if not container.streams.video:
            raise ReadError(display_name, "holds no video stream", "export the clip again")
        track = container.streams.video[0]
        limits.check_frames((track.codec_context.height, track.codec_context.width), 1, display_name)
        for count, frame in enumerate(container.decode(track), start=1):
            limits.check_frames((frame.height, frame.width), count, display_name)
            yield frame.to_ndarray(format="rgb24")


@contextmanager
def _open_container(stream: FragmentStream) -> Iterator[Any]:
    with av.open(cast(Any, stream), mode="r") as container:
        yield container
