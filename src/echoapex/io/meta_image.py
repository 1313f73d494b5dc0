"""MetaImage files (MHD with RAW or ZRAW, and MHA): the text header and the samples of a 2D image or series.

Format: https://itk.org/Wiki/ITK/MetaIO/Documentation. Only what can be a clip is read; a data file is taken from the
header's own folder and nowhere else, so that a header cannot make the reader open other files of the machine.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from echoapex.io.clip_source import ReadError
from echoapex.io.dicom.elements import clean_errors

MOST_INFLATED_BYTES = 256 << 20
"""What compressed samples may expand to: they are held in memory, and a small file could claim any size."""
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
    """What a MetaImage header says.

    Attributes:
        shape: samples along x, y and any further axes.
        spacing_mm: of each axis; empty when the header gives none.
        dtype: type and byte order of one sample.
        is_compressed: the data are a zlib (or gzip) stream.
        data_path: file that holds the data; the header's own file for MHA.
        data_offset: first byte of the data; -1 means that the data are the last bytes of the file.
    """

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    dtype: np.dtype[np.generic]
    is_compressed: bool
    data_path: Path
    data_offset: int

    @property
    def data_bytes(self) -> int:
        """Bytes of the samples when expanded."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count * self.dtype.itemsize


def read_meta_image_header(path: Path, display_name: str) -> MetaImageHeader:
    """Read the text header.

    Raises:
        ReadError: a needed key is missing or wrong, or the data file is absent or lies outside the header's folder.
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
    """The ElementDataFile that a header (its first bytes) names; empty when it names none."""
    for line in head.decode("latin-1").splitlines():
        key, equals, value = line.partition("=")
        if equals and key.strip() == "ElementDataFile":
            return value.strip()
    return ""


def read_meta_image_samples(header: MetaImageHeader, display_name: str) -> np.ndarray:
    """All samples, as an array with the axes of ``header.shape`` (x first).

    Raises:
        ReadError: the data are shorter than the header says, or do not expand.
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
            # 32: zlib or gzip, told from the stream; the length bound keeps a bomb from expanding
            data = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS).decompress(stream.read(expected + 65536), expected)
        else:
            data = stream.read(expected)
    if len(data) < expected:
        raise _too_short(display_name, len(data), expected)
    return np.frombuffer(data, header.dtype).reshape(header.shape, order="F")


def _too_short(display_name: str, held: int, expected: int) -> ReadError:
    return ReadError(display_name, f"holds {held} bytes of samples where its header says {expected}", "export it again")


def locate_data_file(path: Path, named: str, display_name: str) -> Path:
    """The data file that a header names, in the header's own folder.

    Raises:
        ReadError: none is named, it lies elsewhere, is a list or pattern of files, or does not exist.
    """
    if named == "LOCAL":
        return path
    if not named or named.startswith("LIST") or "%" in named:
        raise ReadError(display_name, "names no single data file", "export it with one .raw or .zraw file")
    is_plain = named == PurePosixPath(named).name == PureWindowsPath(named).name and named not in (".", "..")
    data_path = path.parent / named
    with clean_errors(display_name, "names a data file that cannot be"):  # a NUL, a name that is too long
        is_beside = is_plain and data_path.resolve().parent == path.parent.resolve()
        is_there = is_beside and data_path.is_file()
    if not is_beside:
        raise ReadError(display_name, "its data file lies outside its folder", "put the .raw file beside the .mhd file")
    if not is_there:
        raise ReadError(display_name, "its data file is missing", "put the .raw file beside the .mhd file")
    return data_path


def _read_keys(path: Path, display_name: str) -> tuple[Mapping[str, str], int]:
    """Keys and values, and the byte behind the header: ElementDataFile is its last line."""
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
