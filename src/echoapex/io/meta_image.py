"""MetaImage files (MHD with RAW or ZRAW, and MHA): the text header and the samples of a 2D image or series.

Format: https://itk.org/Wiki/ITK/MetaIO/Documentation. Only images that can be a clip are read. The data file must be in
the same folder as the header, so that a header cannot make the reader open other files of the machine.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from echoapex.io.clip_source import ReadError, clean_errors

MOST_INFLATED_BYTES = 256 << 20
"""Largest expanded size of compressed samples: they are kept in memory, and a small file could claim any size."""
TOO_LARGE_TO_INFLATE = f"its compressed samples would expand to more than {MOST_INFLATED_BYTES >> 20} MiB"

_MOST_HEADER_BYTES = 64 * 1024
_SAMPLE_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


@dataclass(frozen=True)
class MetaImageHeader:
    """Content of a MetaImage header.

    Attributes:
        shape: samples along x, y and any further axes.
        spacing_mm: spacing along each axis; empty if the header gives none.
        dtype: type and byte order of one sample.
        is_compressed: whether the data are a zlib or gzip stream.
        data_path: file with the data; for MHA the header's own file.
        data_offset: position of the data; -1 means the last bytes of the file.
    """

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    dtype: np.dtype[np.generic]
    is_compressed: bool
    data_path: Path
    data_offset: int

    @property
    def data_bytes(self) -> int:
        """Bytes of the expanded samples."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count * self.dtype.itemsize


def read_meta_image_header(path: Path, display_name: str) -> MetaImageHeader:
    """Read the text header.

    Raises:
        ReadError: a required key is missing or wrong, or the data file is missing or outside the header's folder.
    """
    keys, end = _read_keys(path, display_name)
    with clean_errors(display_name, "its header has an unreadable number"):
        dimensions = int(keys.get("NDims", "0"))
        shape = tuple(int(value) for value in keys.get("DimSize", "").split())
        spacing = tuple(float(value) for value in keys.get("ElementSpacing", keys.get("ElementSize", "")).split())
        channels = int(keys.get("ElementNumberOfChannels", "1"))
        header_size = int(keys.get("HeaderSize", "0"))
    if not 2 <= dimensions <= 4 or len(shape) != dimensions or min(shape, default=0) < 1:
        raise ReadError(display_name, "its header gives no valid image size", "export the image again")
    if channels != 1:
        raise ReadError(display_name, f"has {channels} channels a pixel", "export it as a grey image")
    kind = _SAMPLE_TYPES.get(keys.get("ElementType", ""))
    if kind is None:
        raise ReadError(display_name, "has an unknown element type", "export it as MET_UCHAR or another plain type")
    is_big = _is_true(keys, "BinaryDataByteOrderMSB") or _is_true(keys, "ElementByteOrderMSB")
    data_path = locate_data_file(path, keys.get("ElementDataFile", ""), display_name)
    return MetaImageHeader(
        shape=shape,
        spacing_mm=spacing if len(spacing) == dimensions else (),
        dtype=np.dtype((">" if is_big else "<") + kind),
        is_compressed=_is_true(keys, "CompressedData"),
        data_path=data_path,
        data_offset=end if data_path == path else header_size,
    )


def data_file_name(head: bytes) -> str:
    """The ElementDataFile named in the first bytes of a header; empty if there is none."""
    for line in head.decode("latin-1").splitlines():
        key, equals, value = line.partition("=")
        if equals and key.strip() == "ElementDataFile":
            return value.strip()
    return ""


def read_meta_image_samples(header: MetaImageHeader, display_name: str) -> np.ndarray:
    """Read all samples as an array with the axes of ``header.shape`` (x first).

    Raises:
        ReadError: the data are shorter than the header says, or cannot be expanded.
    """
    expected = header.data_bytes
    if header.is_compressed and expected > MOST_INFLATED_BYTES:
        raise ReadError(display_name, TOO_LARGE_TO_INFLATE, "export it uncompressed")
    with clean_errors(display_name, "its data cannot be read"), header.data_path.open("rb") as stream:
        held = stream.seek(0, 2)
        if header.data_offset < 0:
            stream.seek(-expected, 2)
        else:
            stream.seek(header.data_offset)
            held -= header.data_offset
        if not header.is_compressed and held < expected:
            raise _too_short(display_name, max(0, held), expected)
        if header.is_compressed:
            # 32: zlib or gzip is detected; the length limit stops a decompression bomb
            data = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS).decompress(stream.read(expected + 65536), expected)
        else:
            data = stream.read(expected)
    if len(data) < expected:
        raise _too_short(display_name, len(data), expected)
    return np.frombuffer(data, header.dtype).reshape(header.shape, order="F")


def _too_short(display_name: str, held: int, expected: int) -> ReadError:
    return ReadError(display_name, f"holds {held} bytes of samples where its header says {expected}", "export it again")


def locate_data_file(path: Path, named: str, display_name: str) -> Path:
    """Find the data file that a header names, in the header's own folder.

    Raises:
        ReadError: no file is named; or it is outside the folder, is a list or pattern of files, or does not exist.
    """
    if named == "LOCAL":
        return path
    if not named or named.startswith("LIST") or "%" in named:
        raise ReadError(display_name, "names no single data file", "export it with one .raw or .zraw file")
    is_plain = named == PurePosixPath(named).name == PureWindowsPath(named).name and named not in (".", "..")
    data_path = path.parent / named
    with clean_errors(display_name, "names an impossible data file"):  # a NUL character, or a name that is too long
        is_beside = is_plain and data_path.resolve().parent == path.parent.resolve()
        is_there = is_beside and data_path.is_file()
    if not is_beside:
        raise ReadError(display_name, "its data file lies outside its folder", "put the .raw file beside the .mhd file")
    if not is_there:
        raise ReadError(display_name, "its data file is missing", "put the .raw file beside the .mhd file")
    return data_path


def _read_keys(path: Path, display_name: str) -> tuple[Mapping[str, str], int]:
    """Keys and values, and the position after the header: ElementDataFile is its last line."""
    keys: dict[str, str] = {}
    with clean_errors(display_name, "cannot be read"), path.open("rb") as stream:
        while (line := stream.readline(4096)) and stream.tell() < _MOST_HEADER_BYTES:
            key, equals, value = line.decode("latin-1").partition("=")
            if equals:
                keys[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                return keys, stream.tell()
    raise ReadError(display_name, "its header names no data file", "export the image again")


def _is_true(keys: Mapping[str, str], key: str) -> bool:
    return keys.get(key, "False").lower() in ("true", "1", "yes")
