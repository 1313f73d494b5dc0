"""Files made by hand to harm a reader: each keeps it busy, fills its memory, or raises what nobody expects.

A case is a small folder: its files by name. They are the seeds of the fuzzer and are read one by one in its tests.
"""

from __future__ import annotations

import io
import struct
import tempfile
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image
from pydicom import uid
from synthetic_dicom import build_dataset, encode_video, moving_frames, pydicom_encoder, save, write_compressed
from synthetic_files import write_dicomdir, write_meta_image, write_zip

Case = dict[str, bytes]

_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
_SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def hostile_names() -> list[str]:
    """The names of all cases."""
    return list(_CASES)


def make_hostile(name: str) -> Case:
    """The files of a case."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom notices what is wrong here
        return _CASES[name]()


def element(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """An element in explicit little endian; ``length`` lies about its size."""
    length = len(value) if length is None else length
    if vr in (b"OB", b"OW", b"SQ", b"UN"):
        return struct.pack("<HH2s2xL", group, number, vr, length) + value
    return struct.pack("<HH2sH", group, number, vr, length) + value


def dicom_bytes(body: bytes, syntax: str = uid.ExplicitVRLittleEndian, sop_class: str = "") -> bytes:
    """A DICOM file with a body of one's own; deflated where the syntax says so."""
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
        body = packer.compress(body) + packer.flush()
    meta = element(2, 2, b"UI", (sop_class or "1.2.840.10008.5.1.4.1.1.3.1").encode() + b"\0")
    text = str(syntax).encode()
    meta += element(2, 0x10, b"UI", text + b"\0" * (len(text) % 2))
    return b"\0" * 128 + b"DICM" + element(2, 0, b"UL", struct.pack("<L", len(meta))) + meta + body


def zeros_deflated(mebibytes: int, wbits: int, before: bytes = b"") -> bytes:
    """A deflate stream of ``before`` and so many MiB of zeros, made quickly from one block."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b"\0" * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    stream = head + block * mebibytes + packer.flush()
    if wbits < 0:
        return stream
    checksum = 0
    if wbits > 16:
        checksum = zlib.crc32(before)
        for _ in range(mebibytes):
            checksum = zlib.crc32(b"\0" * (1 << 20), checksum)
        size = (len(before) + (mebibytes << 20)) & 0xFFFFFFFF
        return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + stream + struct.pack("<LL", checksum, size)
    return b"\x78\xda" + stream


def saved(write: Callable[[Path], object]) -> bytes:
    """What a function writes to the path that it is given."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write(path)
        return path.read_bytes()


def _many_items(tag: tuple[int, int], count: int = 2_000_000, defined: bool = False) -> bytes:
    items = _ITEM * count
    if defined:
        return element(*tag, b"SQ", items)
    return element(*tag, b"SQ", items + _SEQUENCE_END, 0xFFFFFFFF)


def _deflated(body: bytes, name: str = "a.dcm") -> Case:
    return {name: dicom_bytes(body, uid.DeflatedExplicitVRLittleEndian)}


def _expanding(sop_class: str = "") -> Case:
    content = dicom_bytes(b"", uid.DeflatedExplicitVRLittleEndian, sop_class)
    head = element(0x0009, 0x1001, b"OB", b"", 512 << 20)
    return {"DICOMDIR" if sop_class else "a.dcm": content[:-2] + zeros_deflated(512, -15, head)}


def _deflated_dicomdir(body: bytes) -> Case:
    content = dicom_bytes(body, uid.DeflatedExplicitVRLittleEndian, uid.MediaStorageDirectoryStorage)
    return {"DICOMDIR": content}


def _plain_dicomdir(body: bytes) -> Case:
    return {"DICOMDIR": dicom_bytes(body, sop_class=uid.MediaStorageDirectoryStorage)}


def _image(rows: int, columns: int, syntax: str, picture: bytes, bits: int = 8, **elements: object) -> bytes:
    frames = np.zeros((1, 1, 1), np.uint8 if bits == 8 else np.uint16)
    about = {"Rows": rows, "Columns": columns, **elements}
    return saved(lambda path: write_compressed(path, frames, "MONOCHROME2", syntax, [picture], **about))


def _jpeg_ls(size: int, bits: int = 8) -> Case:
    """A blank picture: JPEG-LS packs it into a kilobyte."""
    import jpeg_ls

    blank = np.zeros((size, size), np.uint8 if bits == 8 else np.uint16)
    picture = bytes(jpeg_ls.encode_array(blank))
    return {"a.dcm": _image(size, size, uid.JPEGLSLossless, picture, bits)}


def _jpeg_ls_that_claims(rows: int, columns: int) -> Case:
    import jpeg_ls

    picture = bytearray(bytes(jpeg_ls.encode_array(np.zeros((64, 64), np.uint8))))
    at = picture.find(b"\xff\xf7") + 5
    picture[at : at + 4] = struct.pack(">HH", rows, columns)
    return {"a.dcm": _image(rows, columns, uid.JPEGLSLossless, bytes(picture) + b"\0" * 1000)}


def _tiny_tiles() -> Case:
    """A JPEG 2000 picture that claims one tile for every pixel."""
    encode = pydicom_encoder(uid.JPEG2000Lossless, "MONOCHROME2", "pylibjpeg")
    picture = bytearray(encode(np.zeros((64, 64), np.uint8)))
    at = picture.find(b"\xff\x4f\xff\x51") + 8
    picture[at : at + 32] = struct.pack(">8L", 4000, 4000, 0, 0, 1, 1, 0, 0)
    return {"a.dcm": _image(4000, 4000, uid.JPEG2000Lossless, bytes(picture) + b"\0" * 9000)}


def _rle_segments(*starts: int, body: bytes = b"\x7f\x01\x02" * 30) -> Case:
    header = struct.pack("<16L", len(starts), *starts, *[0] * (15 - len(starts)))
    return {"a.dcm": _image(32, 32, uid.RLELossless, header + body)}


def _broken_rle(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    frames = moving_frames(2)
    pictures = [bytearray(pydicom_encoder(uid.RLELossless, "RGB", "pydicom")(frame)) for frame in frames]
    for place in rng.integers(64, len(pictures[1]), 5):
        pictures[1][place] = rng.integers(0, 256)
    packed = [bytes(picture) for picture in pictures]
    return {"a.dcm": saved(lambda path: write_compressed(path, frames, "RGB", uid.RLELossless, packed))}


def _endless_scans() -> Case:
    """A progressive JPEG whose every scan passes over 16 million blank pixels in a few bytes."""
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4096, 4096), np.uint8)).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    last = content.rfind(b"\xff\xda")
    table = content.rfind(b"\xff\xc4")
    scan = content[min(last, table if table > 0 else last) : -2]
    return {"a.jpg": content[:-2] + scan * 1200 + b"\xff\xd9"}


def _png_bomb(side: int) -> Case:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((side, side), np.uint8)).save(buffer, "PNG")
    return {"a.png": buffer.getvalue()}


def _png_text_bomb() -> Case:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(buffer, "PNG")
    content = buffer.getvalue()
    body = b"zTXtk\0\0" + zeros_deflated(256, 15)
    chunk = struct.pack(">L", len(body) - 4) + body + struct.pack(">L", zlib.crc32(body))
    return {"a.png": content[:33] + chunk + content[33:]}


def _meta_image(**keys: object) -> Case:
    with tempfile.TemporaryDirectory() as folder:
        path = write_meta_image(Path(folder) / "a.mhd", np.zeros((4, 4), np.uint8), **keys)
        return {each.name: each.read_bytes() for each in Path(folder).iterdir() if each.name} | {
            path.name: path.read_bytes()
        }


def _meta_image_bomb() -> Case:
    text = (
        "ObjectType = Image\nNDims = 3\nDimSize = 4096 4096 16\nElementType = MET_DOUBLE\n"
        "CompressedData = True\nElementDataFile = LOCAL\n"
    )
    return {"a.mha": text.encode() + zeros_deflated(512, 15)}


def _meta_image_named(data_file: bytes) -> Case:
    text = b"ObjectType = Image\nNDims = 2\nDimSize = 4 4\nElementType = MET_UCHAR\nElementDataFile = "
    return {"a.mhd": text + data_file + b"\n", "a.raw": b"\0" * 16}


def _nifti_header(shape: tuple[int, ...], code: int, bits: int, offset: float = 352.0) -> bytearray:
    header = bytearray(352)
    struct.pack_into("<l", header, 0, 348)
    struct.pack_into("<8h", header, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<hh", header, 70, code, bits)
    struct.pack_into("<f", header, 108, offset)
    struct.pack_into("<8f", header, 76, *[1.0] * 8)
    header[344:348] = b"n+1\0"
    return header


def _nifti_extension_bomb() -> Case:
    size = 512 << 20
    header = _nifti_header((4, 4), 2, 8, 352.0 + size)
    header[348] = 1
    return {"a.nii.gz": zeros_deflated(512, 31, bytes(header) + struct.pack("<ll", size, 6))}


def _nifti_bomb() -> Case:
    header = _nifti_header((4096, 4096, 16), 64, 64)
    return {"a.nii.gz": zeros_deflated(512, 31, bytes(header))}


def _wrong_length(keyword: str, value: bytes) -> Case:
    """A numeric element whose length is no multiple of its number's."""
    frames = moving_frames(1, colours=1)
    dataset = build_dataset(frames, "MONOCHROME2", FrameTime=None)
    dataset.PixelData = frames.tobytes()
    content = bytearray(saved(lambda path: save(path, dataset)))
    group, number, vr = {
        "Rows": (0x28, 0x10, b"US"),
        "Columns": (0x28, 0x11, b"US"),
        "BitsAllocated": (0x28, 0x100, b"US"),
        "PixelRepresentation": (0x28, 0x103, b"US"),
        "SamplesPerPixel": (0x28, 0x02, b"US"),
        "FrameIncrementPointer": (0x28, 0x09, b"AT"),
        "RWaveTimeVector": (0x18, 0x6060, b"FL"),
        "UltrasoundColorDataPresent": (0x28, 0x14, b"US"),
    }[keyword]
    tag = struct.pack("<HH", group, number)
    at = content.find(tag + vr)
    new = element(group, number, vr, value)
    if at >= 0:
        (length,) = struct.unpack_from("<H", content, at + 6)
        content[at : at + 8 + length] = new
    else:
        at = (
            content.find(struct.pack("<HH", 0x28, 0x02) + b"US") if group == 0x28 else content.find(b"\x20\x00\x0d\x00")
        )
        content[at:at] = new
    return {"a.dcm": bytes(content)}


def _value_bomb(keyword: str, value: str) -> Case:
    tag = {"FrameTime": (0x18, 0x1063), "WindowCenter": (0x28, 0x1050), "FrameTimeVector": (0x18, 0x1065)}[keyword]
    # implicit VR, since an explicit DS holds 64 KB at most
    content = struct.pack("<HHL", 8, 0x16, 0) + struct.pack("<HHL", *tag, len(value)) + value.encode()
    return {"a.dcm": dicom_bytes(content, uid.ImplicitVRLittleEndian)}


def _palette_bomb() -> Case:
    """A segmented palette of long runs: 6 bytes become 65,535 entries."""
    frames = np.zeros((1, 8, 8), np.uint8)
    runs = struct.pack("<HHH", 0, 1, 7) + struct.pack("<HHH", 1, 65535, 9) * 8000
    dataset = build_dataset(frames, "PALETTE COLOR", FrameTime=None)
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(dataset, f"Segmented{colour}PaletteColorLookupTableData", runs)
    dataset.PixelData = frames.tobytes()
    return {"a.dcm": saved(lambda path: save(path, dataset))}


def _empty_fragments() -> Case:
    picture = simplejpeg.encode_jpeg(np.zeros((8, 8, 1), np.uint8), colorspace="GRAY")
    content = _image(8, 8, uid.JPEGBaseline8Bit, picture, NumberOfFrames="90000")
    end = content.rfind(_SEQUENCE_END)
    return {"a.dcm": content[:end] + _ITEM * 1_000_000 + _SEQUENCE_END}


def _cut_video(codec: str, container: str, name: str, keep: float) -> Case:
    content = encode_video(moving_frames(12), codec, container)
    return {name: content[: int(len(content) * keep)]}


def _deep_sequences() -> Case:
    body = b""
    for _ in range(20_000):
        body += struct.pack("<HH2s2xL", 8, 0x1115, b"SQ", 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return {"a.dcm": dicom_bytes(body)}


def _zip_bomb() -> Case:
    return {"a.zip": saved(lambda path: write_zip(path, {"a.dcm": b"\0" * (64 << 20)}))}


def _dicomdir(*file_ids: list[str] | str) -> Case:
    with tempfile.TemporaryDirectory() as folder:
        content = write_dicomdir(Path(folder), *file_ids).read_bytes()
    frames = moving_frames(1, colours=1)
    dataset = build_dataset(frames, "MONOCHROME2")
    dataset.PixelData = frames.tobytes()
    return {"DICOMDIR": content, "IM1": saved(lambda path: save(path, dataset))}


_REGIONS, _RECORDS, _PLAIN = (0x18, 0x6011), (0x04, 0x1220), (0x08, 0x1115)

_CASES: dict[str, Callable[[], Case]] = {
    "deflated: two million items": lambda: _deflated(_many_items(_PLAIN)),
    "deflated: two million items, length given": lambda: _deflated(_many_items(_PLAIN, defined=True)),
    "deflated: two million regions": lambda: _deflated(_many_items(_REGIONS)),
    "deflated: two million regions, length given": lambda: _deflated(_many_items(_REGIONS, 400_000, defined=True)),
    "plain: many items": lambda: {"a.dcm": dicom_bytes(_many_items(_PLAIN, 1_000_000))},
    "plain: many regions": lambda: {"a.dcm": dicom_bytes(_many_items(_REGIONS, 1_000_000))},
    "deflated: DICOMDIR of two million records": lambda: _deflated_dicomdir(_many_items(_RECORDS)),
    "deflated: DICOMDIR that expands to half a gigabyte": lambda: _expanding(uid.MediaStorageDirectoryStorage),
    "deflated: DICOM that expands to half a gigabyte": lambda: _expanding(),
    "plain: DICOMDIR of two million records": lambda: _plain_dicomdir(_many_items(_RECORDS, 1_900_000)),
    "plain: DICOMDIR of two million records, length given": lambda: _plain_dicomdir(
        _many_items(_RECORDS, 1_900_000, defined=True)
    ),
    "DICOMDIR: a file ID of 300 letters": lambda: _dicomdir("A" * 300, "IM1"),
    "DICOMDIR: file IDs with a NUL and with dots": lambda: _dicomdir(["A\x01B", ".."], "..", "IM1"),
    "deep sequences": _deep_sequences,
    "JPEG-LS: blank, 4096 x 4096": lambda: _jpeg_ls(4096),
    "JPEG-LS: blank, 2048 x 2048, 16 bit": lambda: _jpeg_ls(2048, 16),
    "JPEG-LS: claims 60000 x 20000 in a kilobyte": lambda: _jpeg_ls_that_claims(60000, 20000),
    "JPEG-LS: claims 4000 x 4000 in a kilobyte": lambda: _jpeg_ls_that_claims(4000, 4000),
    "JPEG-LS: claims 2000 x 2000 in a kilobyte": lambda: _jpeg_ls_that_claims(2000, 2000),
    "JPEG 2000: one tile a pixel": _tiny_tiles,
    "RLE: no segment": lambda: _rle_segments(),
    "RLE: a segment behind the end": lambda: _rle_segments(64, 90_000),
    "RLE: segments in the wrong order": lambda: _rle_segments(100, 64),
    "RLE: a literal run beyond the end": lambda: _rle_segments(64, body=b"\x7f\x01\x02\x03"),
    **{f"RLE: flipped bytes, seed {seed}": (lambda seed=seed: _broken_rle(seed)) for seed in range(6)},
    "JPEG: endless scans": _endless_scans,
    "PNG: 16000 x 16000": lambda: _png_bomb(16000),
    "PNG: 4000 x 4000": lambda: _png_bomb(4000),
    "PNG: text that expands": _png_text_bomb,
    "MHA: 2 GB in 2 MB": _meta_image_bomb,
    "MHD: a NUL in the name of the data": lambda: _meta_image_named(b"a\0.raw"),
    "MHD: a name of 300 letters": lambda: _meta_image_named(b"a" * 300 + b".raw"),
    "MHD: a name that climbs": lambda: _meta_image_named(b"../../etc/passwd"),
    "MHD: data before the start": lambda: _meta_image(HeaderSize=-1, DimSize="4000 4000"),
    "NIfTI: an extension of half a gigabyte": _nifti_extension_bomb,
    "NIfTI: 2 GB of zeros": _nifti_bomb,
    "NIfTI: samples at infinity": lambda: {"a.nii": bytes(_nifti_header((4, 4), 2, 8, float("inf"))) + b"\0" * 16},
    **{
        f"DICOM: {keyword} of {len(value)} bytes": (lambda keyword=keyword, value=value: _wrong_length(keyword, value))
        for keyword, value in (
            ("Rows", b"\1\0\0"),
            ("Rows", b"\1"),
            ("Columns", b"\1\0\0"),
            ("BitsAllocated", b"\x08"),
            ("PixelRepresentation", b"\0\0\0"),
            ("SamplesPerPixel", b"\1\0\0\0\0"),
            ("FrameIncrementPointer", b"\x18\0\x63"),
            ("RWaveTimeVector", b"\0\0\0"),
            ("UltrasoundColorDataPresent", b"\1"),
        )
    },
    "DICOM: a million frame times": lambda: _value_bomb("FrameTimeVector", "1\\" * 1_000_000),
    "DICOM: a million window centres": lambda: _value_bomb("WindowCenter", "1\\" * 1_000_000),
    "DICOM: one number of a million digits": lambda: _value_bomb("FrameTime", "1" * 1_000_000),
    "DICOM: a palette of endless runs": _palette_bomb,
    "DICOM: a million empty fragments": _empty_fragments,
    "AVI: cut": lambda: _cut_video("mpeg4", "avi", "a.avi", 0.7),
    "Matroska: cut": lambda: _cut_video("mpeg4", "matroska", "a.mkv", 0.7),
    "zip: a member that expands": _zip_bomb,
}
