"""The promises of containers, against files that were cut at every place."""

import io
from pathlib import Path

import av
import numpy as np
import pytest

from echoapex.io.file_format import FileFormat, recognise
from echoapex.io.video import read_promise

FRAMES = np.random.default_rng(3).integers(0, 255, (7, 32, 48, 3)).astype(np.uint8)
KINDS = [
    ("a.avi", "mpeg4", "yuv420p", FileFormat.AVI),
    ("a.mp4", "mpeg4", "yuv420p", FileFormat.MP4),
    ("a.mov", "mpeg4", "yuv420p", FileFormat.MP4),
    ("a.mkv", "mpeg4", "yuv420p", FileFormat.MATROSKA),
    ("a.gif", "gif", "rgb8", FileFormat.GIF),
]


def _written(path: Path, codec: str, pixels: str) -> bytes:
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=25)
        track.height, track.width, track.pix_fmt = 32, 48, pixels
        for frame in FRAMES:
            container.mux(track.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pixels)))
        container.mux(track.encode())
    return path.read_bytes()


@pytest.mark.parametrize(("name", "codec", "pixels", "kind"), KINDS)
def test_a_whole_file_keeps_its_promise_and_a_cut_one_does_not(
    tmp_path: Path, name: str, codec: str, pixels: str, kind: FileFormat
) -> None:
    content = _written(tmp_path / name, codec, pixels)
    assert recognise(content[:4096]) is kind

    whole = read_promise(io.BytesIO(content), kind)

    assert not whole.ends_early
    assert whole.pictures == (len(FRAMES) if kind is FileFormat.GIF else None)
    for length in range(len(content) // 8, len(content), max(1, len(content) // 40)):
        assert read_promise(io.BytesIO(content[:length]), kind).ends_early, length
    assert read_promise(io.BytesIO(content[:-1]), kind).ends_early


@pytest.mark.parametrize("kind", [kind for *_, kind in KINDS])
def test_any_bytes_give_an_answer(kind: FileFormat) -> None:
    rng = np.random.default_rng(1)
    for length in range(0, 120, 3):
        stream = io.BytesIO(rng.integers(0, 256, length).astype(np.uint8).tobytes())
        assert read_promise(stream, kind).ends_early in (True, False)
        assert stream.tell() == 0


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_an_avi_of_unknown_size_is_not_called_short(size: int) -> None:
    stream = io.BytesIO(b"RIFF" + size.to_bytes(4, "little") + b"AVI ")
    assert not read_promise(stream, FileFormat.AVI).ends_early
