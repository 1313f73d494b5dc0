"""Still images (PNG, JPEG): one image, or a folder of numbered images that are the frames of one clip.

Still images have no calibration and no frame times. The frames of a folder get a nominal rate, and their times are
marked as unknown, so that every value that depends on the rate is flagged.

Also here: single grey frames as JPEG bytes and back, as a frame store keeps them.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image

from echoapex.domain import ClipHeader
from echoapex.io.calibration import NOMINAL_RATE_HZ
from echoapex.io.clip_source import ReadError, ReadFlag, ReadLimits, clean_errors
from echoapex.io.content import content_of_pixels
from echoapex.io.dicom.codecs import has_too_many_scans
from echoapex.io.file_format import CLIP_ID_DIGITS, file_digest

NO_CALIBRATION = "still images carry no calibration"

_NUMBERED = re.compile(r"(?P<prefix>\D*)(?P<number>\d+)\.(?P<suffix>png|jpe?g)", re.IGNORECASE)
_DEEP_MODES = ("I;16", "I;16B", "I;16L", "I", "F")
_COLOUR_SAMPLE = 8

FRAME_JPEG_QUALITY = 95


@dataclass(frozen=True, eq=False)
class ImageSource:
    """One still image, or a numbered series of images as one clip."""

    paths: tuple[Path, ...]
    display_name: str
    header: ClipHeader
    limits: ReadLimits

    def frames(self) -> Iterator[UInt8[np.ndarray, "height width *channels"]]:
        """Decode the images one by one.

        Raises:
            ReadError: an image is damaged, or its size has changed.
        """
        for number, path in enumerate(self.paths, start=1):
            name = self.display_name if len(self.paths) == 1 else _image_name(self.display_name, number)
            yield _read_image(path, name, self.limits, self.header.size)


def open_image(path: Path, *, display_name: str | None = None, limits: ReadLimits | None = None) -> ImageSource:
    """Open one PNG or JPEG image as a clip of one frame.

    Raises:
        ReadError: the image is empty, damaged, or larger than the limits (checked before decoding).
    """
    name, limits = display_name or path.name, limits or ReadLimits()
    digest = file_digest(path, name)
    size, is_deep = _read_image_header(path, name, limits)
    source = ImageSource((path,), name, _header(digest, size, 1, is_deep), limits)
    return _with_content(source)


def open_image_series(
    paths: Sequence[Path], *, display_name: str | None = None, limits: ReadLimits | None = None
) -> ImageSource:
    """Open numbered images as one clip, in the order of their numbers.

    Raises:
        ReadError: there is no image, an image is damaged or too large, or the images differ in size.
    """
    limits = limits or ReadLimits()
    ordered = sorted(paths, key=lambda path: frame_number(path.name))
    name = display_name or (ordered[0].parent.name if ordered else "images")
    if not ordered:
        raise ReadError(name, "holds no image", "give a folder of numbered PNG or JPEG images")
    limits.check_frames((1, 1), len(ordered), name)
    named = [(path, _image_name(name, number)) for number, path in enumerate(ordered, start=1)]
    digest = hashlib.sha256("".join(file_digest(path, image) for path, image in named).encode()).hexdigest()
    headers = [_read_image_header(path, image, limits) for path, image in named]
    sizes = sorted({size for size, _ in headers})
    if len(sizes) > 1:
        listed = " and ".join(f"{width} x {height}" for height, width in sizes[:2])
        raise ReadError(
            name, f"its numbered images differ in size ({listed})", "put each clip into a folder of its own"
        )
    is_deep = any(deep for _, deep in headers)
    return _with_content(ImageSource(tuple(ordered), name, _header(digest, sizes[0], len(ordered), is_deep), limits))


def is_numbered_series(names: Sequence[str]) -> bool:
    """Whether file names form one numbered series: at least two, one prefix, one suffix, no number twice.

    >>> is_numbered_series(["000.jpg", "001.jpg"]), is_numbered_series(["a1.png", "b2.png"])
    (True, False)
    """
    matches = [_NUMBERED.fullmatch(PurePath(name).name) for name in names]
    found = [match for match in matches if match]
    if len(found) < 2 or len(found) < len(matches):
        return False
    forms = {(match["prefix"].lower(), match["suffix"].lower()) for match in found}
    return len(forms) == 1 and len({int(match["number"]) for match in found}) == len(found)


def frame_number(name: str) -> int:
    """The number in a file name such as ``012.jpg`` or ``frame_12.png``; -1 if it has any other form.

    >>> frame_number("frame_012.png"), frame_number("apical.png"), frame_number("2020-01-02.png")
    (12, -1, -1)
    """
    match = _NUMBERED.fullmatch(name)
    return int(match["number"]) if match else -1


def encode_frame(frame: UInt8[np.ndarray, "height width"]) -> bytes:
    """Encode a grey frame as baseline JPEG of quality 95; the same pixels give the same bytes."""
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(frame)[..., None], FRAME_JPEG_QUALITY, colorspace="GRAY"))


def decode_frame(data: bytes) -> UInt8[np.ndarray, "height width"]:
    """Decode a grey JPEG to pixels.

    Raises:
        ValueError: the bytes are not a complete JPEG.
    """
    decoded: UInt8[np.ndarray, "height width"] = simplejpeg.decode_jpeg(data, colorspace="GRAY")[..., 0]
    return decoded


def _image_name(series: str, number: int) -> str:
    """The name of an image by its place in the series, because its file name may be the patient's."""
    return f"{series} image {number}"


def _read_image(
    path: Path, name: str, limits: ReadLimits, size: tuple[int, int]
) -> UInt8[np.ndarray, "height width *channels"]:
    with _opened(path, name) as image:
        if (image.height, image.width) != size:
            raise ReadError(name, "changed its size while it was read", "read it again when it is complete")
        limits.check_frames(size, 1, name)
        if image.mode in _DEEP_MODES:
            return _to_8_bit(np.asarray(image, np.float32))
        mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
        return np.array(image.convert(mode), np.uint8)


@contextmanager
def _opened(path: Path, name: str) -> Iterator[Image.Image]:
    """Open an image and read its header only; our own limit replaces that of Pillow."""
    with clean_errors(name, "is a damaged image"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(path, formats=("PNG", "JPEG"))
        except Image.DecompressionBombError:
            raise ReadError(name, "claims more pixels than the limit", "check that the file is whole") from None
        with image:
            yield image


def _to_8_bit(samples: np.ndarray) -> UInt8[np.ndarray, "height width"]:
    """Scale deep samples to 8 bit; full scale is 10, 12 or 16 bit, the smallest that holds the largest sample."""
    largest = float(samples.max(initial=0.0))
    full_scale = next((2.0**bits - 1 for bits in (8, 10, 12, 16) if largest < 2**bits), max(1.0, largest))
    return np.clip(np.rint(samples * (255.0 / full_scale)), 0, 255).astype(np.uint8)


def _read_image_header(path: Path, name: str, limits: ReadLimits) -> tuple[tuple[int, int], bool]:
    """Size, and whether the samples have more than 8 bit."""
    with _opened(path, name) as image:
        size = (image.height, image.width)
        limits.check_frames(size, 1, name)
        if image.format == "JPEG" and has_too_many_scans(path.read_bytes(), size[0] * size[1]):
            raise ReadError(name, "has more scans than any real picture", "export the image again")
        return size, image.mode in _DEEP_MODES


def _header(digest: str, size: tuple[int, int], frame_count: int, is_deep: bool) -> ClipHeader:
    return ClipHeader(
        clip_id=digest[:CLIP_ID_DIGITS],
        size=size,
        frame_times_s=tuple(index / NOMINAL_RATE_HZ for index in range(frame_count)),
        frame_times_known=frame_count == 1,
        spacing_reason=NO_CALIBRATION,
        flags=(ReadFlag.RESCALED_TO_8_BIT,) if is_deep else (),
        source={"format": "image" if frame_count == 1 else "image series", "sha256": digest},
    )


def _with_content(source: ImageSource) -> ImageSource:
    """The same source, with its content classified from a few frames spread over the clip."""
    chosen = np.unique(np.linspace(0, len(source.paths) - 1, _COLOUR_SAMPLE).round().astype(int))
    few = ImageSource(tuple(source.paths[k] for k in chosen), source.display_name, source.header, source.limits)
    frames = list(few.frames())
    with clean_errors(source.display_name, "cannot be understood"):
        content = content_of_pixels(frames)
    return replace(
        source,
        header=replace(
            source.header,
            content=content.kind,
            content_reason=content.reason,
            colour_box_xyxy=content.colour_box_xyxy,
            sector=content.sector,
        ),
    )
