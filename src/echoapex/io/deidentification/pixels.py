"""De-identify the pixels of a clip: decode, blank, search for text, blank that too, and store without loss as RLE.

Whatever the source was (grey, inverted grey, palette, RGB or YBR; native, RLE, JPEG, JPEG-LS, JPEG 2000 or a video
stream), the result is 8-bit MONOCHROME2 or RGB in RLE Lossless, decoded pixel values as they were. Samples of more than
8 bits or with a sign are refused, because they would lose depth.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.tag import Tag
from pydicom.uid import RLELossless

from echoapex.io.clip_source import ReadError, clean_errors
from echoapex.io.deidentification.kept_area import KeptArea
from echoapex.io.deidentification.text_search import ClipSummary, FoundText, TextReader, find_text, text_mask
from echoapex.io.dicom.codecs import PixelLayout
from echoapex.io.dicom.frames import StoredFrames

Image = UInt8[np.ndarray, "height width ..."]
Mask = Bool[np.ndarray, "height width"]

_MOST_SEARCHES = 4
_MOST_BLANKED = 0.5
_LIT = 24
_BLOCK_PX = 16


@dataclass(frozen=True, eq=False)
class CleanedPixels:
    """The new pixels, and what was blanked.

    Attributes:
        frames: one RLE picture for each frame.
        size: height and width.
        is_colour: RGB or grey.
        digest: SHA-256 of the new pixel values of all frames.
        kept: the pixels that stayed.
        texts: places of text that were blanked inside the kept area; None if there was no search.
        texts_in_source: how many texts the source shows, at any place.
        searches: how often the recogniser went over the result until it found nothing more.
        tissue_blanked_percent: share of the ultrasound that was blanked because of text.
        had_content: coarse squares outside the result in which the source showed anything.
        picture: the middle frame of the result.
    """

    frames: tuple[bytes, ...]
    size: tuple[int, int]
    is_colour: bool
    digest: str
    kept: Mask
    texts: tuple[FoundText, ...] | None
    texts_in_source: int
    searches: int
    tissue_blanked_percent: float
    had_content: Mask
    picture: Image


def check_depth(layout: PixelLayout, display_name: str) -> None:
    """Refuse samples that cannot be kept without loss.

    Raises:
        ReadError: more than 8 bits, or signed.
    """
    if layout.bits_stored != 8 or layout.signed:
        raise ReadError(
            display_name,
            f"stores {layout.bits_stored} bits a sample{', signed' if layout.signed else ''}; only 8 bits are kept "
            "without loss",
            "export it with 8 bits a sample",
        )


def clean_pixels(stored: StoredFrames, area: KeptArea, reader: TextReader | None, display_name: str) -> CleanedPixels:
    """Blank and encode every frame.

    Args:
        stored: the frames of the source.
        area: what may stay.
        reader: searches for text in what stays; None to leave the search out.
        display_name: name of the file in the error.

    Raises:
        ReadError: a frame cannot be decoded, or text is found over and over.
    """
    summary, had_content = _summarise(stored, area.mask)
    search = _Search(area.mask, None, 0, 0) if reader is None else _search(summary, area.mask, reader, display_name)
    kept = search.kept
    blanked = area.tissue & ~kept
    share = 100.0 * float(blanked.sum()) / max(1, int(area.tissue.sum()))
    if share > 100 * _MOST_BLANKED:
        raise ReadError(display_name, "has text over most of its ultrasound", "leave it out, or export it without text")
    encoded, digest, picture = [], hashlib.sha256(), None
    for number, frame in enumerate(stored.decode_all()):
        frame = _blank(frame, kept)
        digest.update(frame.tobytes())
        if picture is None or number == stored.frame_count // 2:
            picture = frame
        with clean_errors(display_name, f"frame {number} cannot be encoded"):
            encoded.append(_encode(frame))
    if picture is None:
        raise ReadError(display_name, "holds no frame", "export the clip again")
    return CleanedPixels(
        tuple(encoded),
        (picture.shape[0], picture.shape[1]),
        picture.ndim == 3,
        digest.hexdigest(),
        kept,
        search.texts,
        search.texts_in_source,
        search.searches,
        round(share, 3),
        had_content,
        picture,
    )


def describe_pixels(dataset: Dataset, pixels: CleanedPixels) -> None:
    """Put the new pixels, and all elements that describe them, into a data set."""
    dataset.Rows, dataset.Columns = pixels.size
    dataset.SamplesPerPixel = 3 if pixels.is_colour else 1
    dataset.PhotometricInterpretation = "RGB" if pixels.is_colour else "MONOCHROME2"
    if pixels.is_colour:
        dataset.PlanarConfiguration = 0
        for keyword in ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"):
            if keyword in dataset:
                delattr(dataset, keyword)
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    if len(pixels.frames) > 1 or "NumberOfFrames" in dataset:
        dataset.NumberOfFrames = len(pixels.frames)
    dataset.add_new(Tag("PixelData"), "OB", encapsulate(list(pixels.frames), has_bot=len(pixels.frames) > 1))
    dataset["PixelData"].is_undefined_length = True


def pixel_digest(frames: Iterator[Image]) -> str:
    """SHA-256 of the pixel values of all frames, as in :class:`CleanedPixels`."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(np.ascontiguousarray(frame).tobytes())
    return digest.hexdigest()


def _summarise(stored: StoredFrames, mask: Mask) -> tuple[ClipSummary, Mask]:
    """What is to be read, and coarse squares outside the mask in which anything was lit."""
    summary = ClipSummary(stored.frame_count)
    outside = np.zeros(mask.shape, np.uint8)
    for frame in stored.decode_all():
        brightest = frame if frame.ndim == 2 else frame.max(axis=2)
        np.maximum(outside, brightest, out=outside)
        summary.add(frame)
    return summary, _coarse((outside >= _LIT) & ~mask) & ~mask


class _Search(NamedTuple):
    kept: Mask
    texts: tuple[FoundText, ...] | None
    texts_in_source: int
    searches: int


def _search(summary: ClipSummary, mask: Mask, reader: TextReader, display_name: str) -> _Search:
    """Search the source, since blanking may cut a text; then the result, until nothing is found.

    Raises:
        ReadError: text is found over and over.
    """
    pictures = summary.pictures()
    in_source = find_text(reader, summary.overview())
    texts = [text for text in in_source if (text_mask([text], mask.shape) & mask).any()]
    kept = mask & ~text_mask(texts, mask.shape)
    for search in range(_MOST_SEARCHES):
        found = find_text(reader, (_blank(picture, kept) for picture in pictures), kept)
        hits = text_mask(found, mask.shape) & kept
        if not hits.any():
            return _Search(kept, tuple(texts), len(in_source), search + 2)
        texts += found
        kept = kept & ~hits
    raise ReadError(display_name, "still shows text after several searches", "leave it out, or export it without text")


def _blank(frame: Image, kept: Mask) -> Image:
    blanked: Image = np.where(kept if frame.ndim == 2 else kept[..., None], frame, np.uint8(0))
    return blanked


def _coarse(lit: Mask) -> Mask:
    """Squares that hold a lit pixel: too coarse for letters."""
    height, width = lit.shape
    rows, columns = -(-height // _BLOCK_PX), -(-width // _BLOCK_PX)
    padded = np.zeros((rows * _BLOCK_PX, columns * _BLOCK_PX), bool)
    padded[:height, :width] = lit
    squares = padded.reshape(rows, _BLOCK_PX, columns, _BLOCK_PX).any(axis=(1, 3))
    grown: Mask = squares.repeat(_BLOCK_PX, axis=0).repeat(_BLOCK_PX, axis=1)[:height, :width]
    return grown


def _encode(frame: Image) -> bytes:
    options: dict[str, Any] = {
        "rows": frame.shape[0],
        "columns": frame.shape[1],
        "number_of_frames": 1,
        "samples_per_pixel": 3 if frame.ndim == 3 else 1,
        "photometric_interpretation": "RGB" if frame.ndim == 3 else "MONOCHROME2",
        "bits_allocated": 8,
        "bits_stored": 8,
        "pixel_representation": 0,
    }
    if frame.ndim == 3:
        options["planar_configuration"] = 0
    return bytes(get_encoder(RLELossless).encode(frame, encoding_plugin="pylibjpeg", **options))
