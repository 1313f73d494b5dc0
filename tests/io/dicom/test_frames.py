"""Frames that are too few, too many, cut off or of another size than the header says."""

from __future__ import annotations

import resource
from pathlib import Path

import gdcm
import numpy as np
import pytest
from pydicom import uid
from synthetic_dicom import (
    build_dataset,
    encode_video,
    jpeg,
    moving_frames,
    pydicom_encoder,
    recompress_by_gdcm,
    save,
    to_ybr,
    write_compressed,
    write_native,
    write_video,
)

from echoapex.io.clip_source import ReadError, ReadFlag, load_clip
from echoapex.io.dicom.frames import spread
from echoapex.io.dicom.reader import open_dicom

GREY = moving_frames(6, colours=1)
RGB = moving_frames(2)


def test_native_pixels_shorter_than_claimed_are_refused_at_open(tmp_path: Path) -> None:
    path = write_native(tmp_path / "a.dcm", GREY, "MONOCHROME2", NumberOfFrames=9)
    with pytest.raises(ReadError, match="claims 9 frames but holds the pixels of 6"):
        open_dicom(path)


def test_a_native_file_cut_off_is_refused_at_open(tmp_path: Path) -> None:
    path = write_native(tmp_path / "a.dcm", GREY, "MONOCHROME2")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ReadError, match="claims 6 frames but holds the pixels of 5"):
        open_dicom(path)


def test_a_native_file_with_more_pixels_than_claimed_is_flagged(tmp_path: Path) -> None:
    source = open_dicom(write_native(tmp_path / "a.dcm", GREY, "MONOCHROME2", NumberOfFrames=4))
    assert source.header.flags == (ReadFlag.FRAME_COUNT_DISAGREES,)
    assert np.array_equal(load_clip(source).frames, GREY[:4])


def test_full_chroma_that_is_called_shared(tmp_path: Path) -> None:
    dataset = build_dataset(RGB, "YBR_FULL_422")
    dataset.PixelData = to_ybr(RGB).tobytes()
    dataset["PixelData"].VR = "OB"
    clip = load_clip(open_dicom(save(tmp_path / "a.dcm", dataset)))
    assert np.abs(clip.frames.astype(int) - RGB).mean() < 1


def jpeg_file(path: Path, **elements: object) -> Path:
    return write_compressed(path, GREY, "MONOCHROME2", uid.JPEGBaseline8Bit, [jpeg(f) for f in GREY], **elements)


def test_a_compressed_file_cut_off_keeps_its_whole_frames(tmp_path: Path) -> None:
    path = jpeg_file(tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes()[:-900])
    source = open_dicom(path)
    assert ReadFlag.TRUNCATED in source.header.flags
    assert 3 <= source.header.frame_count < 6
    whole = load_clip(open_dicom(jpeg_file(tmp_path / "b.dcm"))).frames
    assert np.array_equal(load_clip(source).frames, whole[: source.header.frame_count])


@pytest.mark.parametrize("claimed", [1, 3, 40])
def test_the_pictures_count_not_the_header(claimed: int, tmp_path: Path) -> None:
    source = open_dicom(jpeg_file(tmp_path / "a.dcm", NumberOfFrames=claimed))
    assert source.header.frame_count == 6
    assert ReadFlag.FRAME_COUNT_DISAGREES in source.header.flags


def test_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="picture of 64 x 48 x 1, the header says 64 x 40 x 1"):
        open_dicom(jpeg_file(tmp_path / "a.dcm", Rows=40))


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    pictures = [jpeg(frame) for frame in moving_frames(40, colours=1)]
    pictures[8] = pictures[8][:-150]  # between the frames that are looked at on opening
    path = write_compressed(
        tmp_path / "a.dcm", moving_frames(40, colours=1), "MONOCHROME2", uid.JPEGBaseline8Bit, pictures
    )
    frames = open_dicom(path).frames()
    for _ in range(8):
        next(frames)
    with pytest.raises(ReadError, match="frame 8 cannot be decoded"):
        next(frames)


def test_a_video_of_another_size_is_refused(tmp_path: Path) -> None:
    frames = moving_frames(6, 96, 128)
    stream = encode_video(frames, "libx264", "mp4")
    path = write_video(tmp_path / "a.dcm", frames, uid.MPEG4HP41, stream, Rows=90)
    with pytest.raises(ReadError, match="another size"):
        open_dicom(path)


@pytest.mark.parametrize("kept", [2, 30, 500])
def test_a_video_cut_off_is_read_or_refused(kept: int, tmp_path: Path) -> None:
    frames = moving_frames(12, 96, 128)
    stream = encode_video(frames, "libx264", "mp4")[:kept]
    path = write_video(tmp_path / "a.dcm", frames, uid.MPEG4HP41, stream)
    with pytest.raises(ReadError, match=r"video|whole"):
        open_dicom(path)


def test_a_long_clip_is_streamed_in_bounded_memory(tmp_path: Path) -> None:
    height, width, count = 600, 800, 150  # 216 MB of pixels
    path = tmp_path / "a.dcm"
    first = np.zeros((1, height, width, 3), np.uint8)
    write_native(path, first, "RGB", NumberOfFrames=count)
    data = path.read_bytes()
    size = first.nbytes
    where = data.rindex((size).to_bytes(4, "little"), 0, len(data) - size)
    with path.open("wb") as stream:
        stream.write(data[:where] + (size * count).to_bytes(4, "little") + data[where + 4 :])
        stream.truncate(len(data) + size * (count - 1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in open_dicom(path).frames()) == count
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024  # KiB


def test_frames_are_spread_evenly() -> None:
    assert spread(1, 12) == [0]
    assert spread(5, 12) == [0, 1, 2, 3, 4]
    assert spread(100, 3) == [0, 50, 99]


@pytest.fixture(scope="module")
def compressed_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One small clip in each kind of compression."""
    folder = tmp_path_factory.mktemp("compressed")
    kinds = [(uid.RLELossless, "pylibjpeg"), (uid.JPEGLSLossless, "pyjpegls"), (uid.JPEG2000Lossless, "pylibjpeg")]
    paths = [jpeg_file(folder / "jpeg.dcm")]
    for number, (syntax, plugin) in enumerate(kinds):
        encode = pydicom_encoder(syntax, "RGB", plugin)
        paths.append(write_compressed(folder / f"{number}.dcm", RGB, "RGB", syntax, [encode(frame) for frame in RGB]))
    native = write_native(folder / "native.dcm", RGB, "RGB")
    paths.append(recompress_by_gdcm(native, folder / "lossless.dcm", gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    video = moving_frames(6, 64, 96)
    paths.append(write_video(folder / "video.dcm", video, uid.MPEG4HP41, encode_video(video, "libx264", "mp4")))
    return {path.stem: path.read_bytes() for path in paths}


@pytest.mark.parametrize("seed", range(30))
def test_flipped_bits_in_compressed_frames(seed: int, compressed_files: dict[str, bytes], tmp_path: Path) -> None:
    for name, whole in compressed_files.items():
        rng = np.random.default_rng([seed, len(whole)])
        data = np.frombuffer(whole, np.uint8).copy()
        where = rng.integers(1000 if seed % 2 else 0, len(data), size=[1, 3, 12][seed % 3])
        data[where] ^= (1 << rng.integers(0, 8, size=where.size)).astype(np.uint8)
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(data.tobytes()[: rng.integers(1, len(data)) if seed % 5 == 0 else None])
        try:
            source = open_dicom(path)
            frames = list(source.frames())
        except ReadError as error:
            assert error.reason and error.remedy
        else:
            assert len(frames) == source.header.frame_count
            assert all(frame.dtype == np.uint8 and frame.shape[:2] == source.header.size for frame in frames)
