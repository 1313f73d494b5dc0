"""MetaImage headers: what is read, and what a hostile header cannot make the reader do."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from synthetic_files import write_meta_image

from echoapex.io.clip_source import ReadError
from echoapex.io.meta_image import data_file_name, read_meta_image_header, read_meta_image_samples

SAMPLES = np.arange(6 * 4, dtype=np.uint8).reshape(6, 4, order="F")


def _read(path: Path) -> np.ndarray:
    return read_meta_image_samples(read_meta_image_header(path, path.name), path.name)


def test_raw_compressed_and_local_data(tmp_path: Path) -> None:
    packed = zlib.compress(SAMPLES.tobytes(order="F"))

    plain = write_meta_image(tmp_path / "a.mhd", SAMPLES)
    compressed = write_meta_image(tmp_path / "b.mhd", SAMPLES, packed, CompressedData="True", ElementDataFile="b.zraw")
    local = write_meta_image(tmp_path / "c.mha", SAMPLES, ElementDataFile="LOCAL")

    for path in (plain, compressed, local):
        assert (_read(path) == SAMPLES).all()


def test_big_endian_and_header_size(tmp_path: Path) -> None:
    samples = SAMPLES.astype(np.int16) * 300
    swapped = b"12345" + samples.astype(">i2").tobytes(order="F")
    for size in (5, -1):
        path = write_meta_image(tmp_path / "a.mhd", samples, swapped, ElementByteOrderMSB="True", HeaderSize=size)
        assert (_read(path) == samples).all()


@pytest.mark.parametrize("named", ["/etc/passwd", "../secret.raw", "..\\secret.raw", "sub/x.raw", "..", "C:\\x.raw"])
def test_a_data_file_outside_the_folder_is_refused(tmp_path: Path, named: str) -> None:
    (tmp_path / "secret.raw").write_bytes(bytes(24))
    folder = tmp_path / "inner"
    folder.mkdir()

    with pytest.raises(ReadError, match="outside its folder"):
        read_meta_image_header(write_meta_image(folder / "a.mhd", SAMPLES, ElementDataFile=named), "a.mhd")


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "secret.raw").write_bytes(bytes(24))
    path = write_meta_image(folder / "a.mhd", SAMPLES)
    (folder / "a.raw").unlink()
    (folder / "a.raw").symlink_to(tmp_path / "secret.raw")

    with pytest.raises(ReadError, match="outside its folder"):
        read_meta_image_header(path, "a.mhd")


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"DimSize": "6"}, "no valid image size"),
        ({"DimSize": "6 -4"}, "no valid image size"),
        ({"NDims": "two"}, "unreadable number"),
        ({"ElementType": "MET_OTHER"}, "unknown element type"),
        ({"ElementNumberOfChannels": 3}, "3 channels"),
        ({"ElementDataFile": "LIST"}, "no single data file"),
        ({"ElementDataFile": "slice%03d.raw 1 3 1"}, "no single data file"),
    ],
)
def test_a_wrong_header_is_refused(tmp_path: Path, keys: dict[str, object], reason: str) -> None:
    with pytest.raises(ReadError, match=reason):
        read_meta_image_header(write_meta_image(tmp_path / "a.mhd", SAMPLES, **keys), "a.mhd")


def test_missing_and_short_data_are_refused(tmp_path: Path) -> None:
    path = write_meta_image(tmp_path / "a.mhd", SAMPLES)
    (tmp_path / "a.raw").write_bytes(bytes(10))
    with pytest.raises(ReadError, match="10 bytes of samples where its header says 24"):
        _read(path)
    (tmp_path / "a.raw").unlink()
    with pytest.raises(ReadError, match="data file is missing"):
        _read(path)


def test_a_compressed_bomb_expands_to_the_declared_size_only(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)

    path = write_meta_image(tmp_path / "a.mhd", SAMPLES, bomb, CompressedData="True")

    assert _read(path).shape == (6, 4)
    assert not _read(path).any()


def test_the_data_file_is_named_by_the_last_line() -> None:
    assert data_file_name(b"NDims = 2\nElementDataFile = x.raw\n") == "x.raw"
    assert data_file_name(b"NDims = 2\n") == ""
