"""Video files written by the test itself: frames, times, truncation, and files that are none."""

from pathlib import Path

import av
import numpy as np
import pytest
from drawn_studies import draw_sector

from echoapex.domain import ContentKind
from echoapex.io.clip_source import ClipSource, ReadError, ReadFlag, ReadLimits
from echoapex.io.video import open_video


def _moving_disc(count: int, height: int = 96, width: int = 128) -> np.ndarray:
    rows, columns = np.indices((height, width))
    discs = [np.hypot(columns - 40 - 2 * index, rows - 48) < 25 for index in range(count)]
    return np.stack([np.where(disc, 200, 30) for disc in discs]).astype(np.uint8)


def _write(path: Path, frames: np.ndarray, codec: str, pixel_format: str, rate: int = 25) -> Path:
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=rate)
        track.height, track.width, track.pix_fmt = frames.shape[1], frames.shape[2], pixel_format
        for frame in frames:
            rgb = frame if frame.ndim == 3 else np.repeat(frame[..., None], 3, axis=2)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            for packet in track.encode(picture.reformat(format=pixel_format)):
                container.mux(packet)
        for packet in track.encode():
            container.mux(packet)
    return path


CODECS = [
    ("clip.avi", "mjpeg", "yuvj420p"),
    ("clip.avi", "ffv1", "gray"),
    ("clip.mp4", "mpeg4", "yuv420p"),
    ("clip.mp4", "libx264", "yuv420p"),
    ("clip.gif", "gif", "gray"),
]


@pytest.mark.parametrize(("name", "codec", "pixel_format"), CODECS)
def test_frames_and_times_come_back(tmp_path: Path, name: str, codec: str, pixel_format: str) -> None:
    frames = draw_sector((96, 128), 12)

    source = open_video(_write(tmp_path / name, frames, codec, pixel_format))

    assert isinstance(source, ClipSource)
    header = source.header
    assert header.size == (96, 128)
    assert header.frame_count == 12
    assert header.frame_times_s == pytest.approx([index / 25 for index in range(12)], abs=1e-6)
    assert header.frame_times_known
    assert header.spacing is None
    assert "no calibration" in header.spacing_reason
    assert header.content is ContentKind.B_MODE
    decoded = list(source.frames())
    assert len(decoded) == 12
    for index, frame in enumerate(decoded):
        grey = frame if frame.ndim == 2 else frame.mean(axis=2)
        assert frame.dtype == np.uint8
        assert np.abs(grey - frames[index].astype(float)).mean() < 6


def test_frames_start_again_and_stream(tmp_path: Path) -> None:
    source = open_video(_write(tmp_path / "clip.avi", _moving_disc(5), "ffv1", "gray"))

    first = next(source.frames())

    assert len(list(source.frames())) == 5
    assert (next(source.frames()) == first).all()


def test_coloured_flow_is_told_from_the_pixels(tmp_path: Path) -> None:
    frames = np.repeat(draw_sector((96, 128), 6)[..., None], 3, axis=3)
    frames[:, 50:70, 50:80] = (220, 30, 10)

    header = open_video(_write(tmp_path / "clip.avi", frames, "mjpeg", "yuvj444p")).header

    assert header.content is ContentKind.COLOUR_DOPPLER
    assert header.colour_box_xyxy == pytest.approx((50, 50, 80, 70), abs=3)


def test_a_truncated_video_keeps_its_good_frames_with_a_flag(tmp_path: Path) -> None:
    path = _write(tmp_path / "clip.avi", _moving_disc(20), "mjpeg", "yuvj420p")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    source = open_video(path)

    assert 3 < source.header.frame_count < 20
    assert ReadFlag.TRUNCATED in source.header.flags
    assert len(list(source.frames())) == source.header.frame_count


CONTAINERS = [
    ("a.avi", "mjpeg", "yuvj420p"),
    ("a.avi", "mpeg4", "yuv420p"),
    ("a.avi", "ffv1", "gray"),
    ("a.gif", "gif", "gray"),
    ("a.mkv", "mpeg4", "yuv420p"),
    ("a.mkv", "ffv1", "gray"),
    ("a.mp4", "libx264", "yuv420p"),
]


@pytest.mark.parametrize(("name", "codec", "pixel_format"), CONTAINERS)
def test_fewer_frames_than_the_header_says_are_always_flagged(
    tmp_path: Path, name: str, codec: str, pixel_format: str
) -> None:
    frames = np.random.default_rng(2).integers(0, 255, (12, 48, 64)).astype(np.uint8)
    content = _write(tmp_path / name, frames, codec, pixel_format).read_bytes()
    assert open_video(tmp_path / name).header.flags == ()
    found = 0
    for length in range(len(content) // 6, len(content), len(content) // 14):
        (tmp_path / name).write_bytes(content[:length])
        try:
            header = open_video(tmp_path / name).header
        except ReadError:
            continue
        found += 1
        assert header.frame_count == 12 or ReadFlag.TRUNCATED in header.flags, length
    assert found or name.endswith("mp4")  # its index lies at the end


@pytest.mark.parametrize("position", [0, 1])
def test_one_frame_less_than_the_index_says_is_flagged(tmp_path: Path, position: int) -> None:
    content = bytearray(_write(tmp_path / "a.avi", _moving_disc(9), "mjpeg", "yuvj420p").read_bytes())
    starts = [
        at for at in range(len(content)) if content[at : at + 4] == b"00dc" and content[at + 8 : at + 10] == b"\xff\xd8"
    ]
    assert len(starts) == 9
    at = starts[-1 - position]
    content[at : at + 4] = b"JUNK"
    (tmp_path / "a.avi").write_bytes(content)

    header = open_video(tmp_path / "a.avi").header

    assert header.frame_count < 9
    assert header.flags


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits_give_frames_or_one_clear_error(tmp_path: Path, seed: int) -> None:
    path = _write(tmp_path / "clip.mp4", _moving_disc(10), "libx264", "yuv420p")
    content = bytearray(path.read_bytes())
    for position in np.random.default_rng(seed).integers(0, len(content), 30):
        content[position] ^= 0x41
    path.write_bytes(bytes(content))

    try:
        source = open_video(path)
        assert 1 <= len(list(source.frames())) <= source.header.frame_count
    except ReadError as error:
        assert error.path == "clip.mp4"
        assert error.remedy


@pytest.mark.parametrize("content", [b"", b"RIFF\x00\x00\x00\x00AVI ", b"no video at all" * 20])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret-name.avi"
    path.write_bytes(content)

    with pytest.raises(ReadError) as caught:
        open_video(path, display_name="clip 1")

    assert caught.value.path == "clip 1"
    assert "secret-name" not in str(caught.value)


def test_limits_hold(tmp_path: Path) -> None:
    path = _write(tmp_path / "clip.avi", _moving_disc(8), "mjpeg", "yuvj420p")

    with pytest.raises(ReadError, match="limit of 5"):
        open_video(path, limits=ReadLimits(max_frames=5))
    with pytest.raises(ReadError, match="128 x 96 pixels"):
        open_video(path, limits=ReadLimits(max_frame_pixels=1000))
