"""Still images and numbered series; a bomb is told from its header."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from real_files import shared_data

from echoapex.io.clip_source import ReadError, ReadFlag, ReadLimits
from echoapex.io.still_image import is_numbered_series, open_image, open_image_series


def _grey(level: int = 90) -> np.ndarray:
    image = np.full((40, 60), level, np.uint8)
    image[10:20, 5:50] = 220
    return image


def _write_png(path: Path, image: np.ndarray) -> Path:
    Image.fromarray(image).save(path)
    return path


def test_a_png_comes_back_exactly(tmp_path: Path) -> None:
    source = open_image(_write_png(tmp_path / "a.png", _grey()))

    (frame,) = source.frames()
    assert (frame == _grey()).all()
    assert source.header.frame_times_s == (0.0,)
    assert source.header.frame_times_known
    assert source.header.spacing is None
    assert "no calibration" in source.header.spacing_reason


def test_palette_transparency_and_one_bit_images(tmp_path: Path) -> None:
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[:, 4:] = (255, 0, 0)
    Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    Image.fromarray(np.dstack([colours, np.full((8, 8), 255, np.uint8)])).save(tmp_path / "alpha.png")
    Image.fromarray(colours[..., 0] > 0).save(tmp_path / "bits.png")

    for name in ("palette.png", "alpha.png"):
        (frame,) = open_image(tmp_path / name).frames()
        assert frame.shape == (8, 8, 3)
        assert (frame == colours).all()
    (bits,) = open_image(tmp_path / "bits.png").frames()
    assert (bits == colours[..., 0]).all()


def test_sixteen_bits_are_scaled_with_a_flag(tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)

    source = open_image(tmp_path / "deep.png")

    (frame,) = source.frames()
    assert ReadFlag.RESCALED_TO_8_BIT in source.header.flags
    assert np.abs(frame - deep / 257).max() <= 0.5


def test_a_series_is_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    paths = [_write_png(tmp_path / f"{number}.png", _grey(number)) for number in (1, 2, 9, 10, 11)]

    source = open_image_series(paths[::-1])

    assert [int(frame[0, 0]) for frame in source.frames()] == [1, 2, 9, 10, 11]
    assert source.header.frame_count == 5
    assert not source.header.frame_times_known
    assert np.diff(source.header.frame_times_s) == pytest.approx(1 / 30)


def test_a_series_of_two_sizes_is_refused(tmp_path: Path) -> None:
    paths = [_write_png(tmp_path / "0.png", _grey()), _write_png(tmp_path / "1.png", _grey()[:30])]

    with pytest.raises(ReadError, match="60 x 30 and 60 x 40"):
        open_image_series(paths)


def test_what_makes_a_series() -> None:
    assert is_numbered_series(["f_001.jpg", "f_002.jpg"])
    assert not is_numbered_series(["001.jpg"])
    assert not is_numbered_series(["001.jpg", "002.png"])
    assert not is_numbered_series(["001.jpg", "notes.jpg"])
    assert not is_numbered_series(["1.jpg", "01.jpg"])


def _png_that_claims(height: int, width: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("height", "width"), [(9000, 9000), (60000, 60000)])
def test_a_bomb_is_refused_by_its_header(tmp_path: Path, height: int, width: int) -> None:
    (tmp_path / "bomb.png").write_bytes(_png_that_claims(height, width))

    with pytest.raises(ReadError, match="limit"):
        open_image(tmp_path / "bomb.png")


@pytest.mark.parametrize("keep", [0, 8, 60, 400])
def test_a_damaged_image_is_refused(tmp_path: Path, keep: int) -> None:
    rng = np.random.default_rng(0)
    path = _write_png(tmp_path / "image.png", rng.integers(0, 255, (64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(ReadError, match=r"^clip: "):
        open_image(path, display_name="clip")


def test_limits_hold_for_a_series(tmp_path: Path) -> None:
    paths = [_write_png(tmp_path / f"{number}.png", _grey()) for number in range(3)]

    with pytest.raises(ReadError, match="limit of 2"):
        open_image_series(paths, limits=ReadLimits(max_frames=2))


def test_a_real_series() -> None:
    source = open_image_series(sorted(shared_data("ailabs_clips", "A4C").glob("*.jpg")))

    assert source.header.size == (472, 648)
    assert source.header.frame_count == 101
    first = next(source.frames())
    assert first.shape == (472, 648, 3)
    assert first.mean() > 10
