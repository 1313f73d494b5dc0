"""Video streams from fragments, within limits."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from synthetic_dicom import encode_video, moving_frames

from echoapex.io.clip_source import ReadError, ReadLimits
from echoapex.io.dicom.frames import FragmentStream, decode_video
from echoapex.io.dicom.pixels import Fragment

FRAMES = moving_frames(8, 64, 96)


def stream_of(data: bytes, pieces: int = 1) -> FragmentStream:
    size = -(-len(data) // pieces)
    fragments = [Fragment(start, min(size, len(data) - start)) for start in range(0, len(data), size)]
    return FragmentStream(io.BytesIO(data), fragments)


@pytest.mark.parametrize("pieces", [1, 5])
def test_a_stream_in_any_number_of_fragments(pieces: int) -> None:
    data = encode_video(FRAMES, "libx264", "mp4")
    decoded = np.stack(list(decode_video(stream_of(data, pieces), ReadLimits(), "a.dcm")))
    assert decoded.shape == FRAMES.shape
    assert np.abs(decoded.astype(int) - FRAMES).mean() < 12


@pytest.mark.parametrize("limits", [ReadLimits(max_frame_pixels=1000), ReadLimits(max_frames=3)])
def test_limits_hold_for_what_the_stream_says(limits: ReadLimits) -> None:
    data = encode_video(FRAMES, "libx264", "mp4")
    with pytest.raises(ReadError, match="more than the limit"):
        list(decode_video(stream_of(data), limits, "a.dcm"))


def test_a_stream_without_video() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format="wav") as output:
        track = output.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.rate = 8000
        for packet in (*track.encode(sound), *track.encode()):
            output.mux(packet)
    with pytest.raises(ReadError, match="no video stream"):
        list(decode_video(stream_of(buffer.getvalue()), ReadLimits(), "a.dcm"))
