"""From native frames to the square pixels that every model sees, and from model pixels back to native ones.

The same functions prepare phantom frames for training and real clips for inference, so training and inference see the
same geometry. The steps: grey by luminance, blank outside the sector, crop a square (aspect kept, top edge on the
sector's top, centred sideways), resize. The crop has whole pixel edges, so ``cv2.resize`` does exactly what the
``FrameTransform`` says, and masks and points return to native pixels without a shift.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from echoapex.domain import ClipHeader, FrameTransform, Sector
from echoapex.domain.clip import Size
from echoapex.io.clip_source import ClipSource, ReadError
from echoapex.io.sector import find_sector, sector_mask

Box = tuple[float, float, float, float]

SECTOR_NOT_FOUND = "sector_not_found"
"""Flag of a clip in which no ultrasound sector was recognised, so that the whole image was used."""

_SAMPLE_FRAMES = 24
_SAMPLE_BYTES = 96 * 2**20
BLANK_CONTRAST = 4.0
"""Standard deviation of grey levels (0 to 255) below which an image shows nothing."""
FULL_CONTRAST = 30.0
"""Contrast from which the image counts as fully legible."""


@dataclass(frozen=True, eq=False)
class PreparedClip:
    """A clip in model pixels.

    Attributes:
        pixels: uint8 ``(frames, size, size)``, 0 outside the sector.
        transform: native pixels to model pixels, the same for all frames.
        header: of the source clip, all its frames and native geometry; flagged when no sector was found.
        sector: the area kept, native pixels; None when the whole image was used.
        frame_indices: the source frame of each row of ``pixels``.
        colour: box of the colour Doppler in native pixel edges, when there is one.
    """

    pixels: UInt8[np.ndarray, "frames size size"]
    transform: FrameTransform
    header: ClipHeader
    sector: Sector | None
    frame_indices: tuple[int, ...]
    colour: Box | None = None

    @property
    def frame_times_s(self) -> tuple[float, ...]:
        """Times in s of the kept frames, on the clock of the source clip."""
        return tuple(self.header.frame_times_s[index] for index in self.frame_indices)

    @property
    def size(self) -> int:
        """Side of a model frame in pixels."""
        return self.transform.target_size[0]


def prepare_frames(
    source: ClipSource, size: int, *, max_frames: int | None = None, sector: Sector | None = None
) -> PreparedClip:
    """Stream a clip into model pixels; only these and a short first sample are in memory, never all native frames.

    Args:
        source: the clip.
        size: side of the square model frame in pixels.
        max_frames: keep at most so many frames, evenly strided over the clip; None keeps all.
        sector: the known sector; else the header's; else it is found in the first frames.

    Raises:
        ReadError: a frame cannot be decoded, has another size than the header says, or there is none.
    """
    header = source.header
    stride = 1 if max_frames is None else max(1, math.ceil(header.frame_count / max_frames))
    stream: Iterator[UInt8[np.ndarray, "h w"]] = (to_grey(_checked(frame, header)) for frame in source.frames())
    sector = sector or header.sector
    if sector is None:
        sample = _first_frames(stream, header.size)
        sector = find_sector(np.stack(sample)) if sample else None
        stream = chain(sample, stream)
    if sector is None:
        header = header.with_flags(SECTOR_NOT_FOUND)
    preparer = FramePreparer(header.size, sector, size)
    kept = [(index, preparer.prepare(frame)) for index, frame in enumerate(stream) if index % stride == 0]
    kept = [item for item in kept if item[0] < header.frame_count]
    if not kept:
        raise ReadError(header.clip_id, "no frame could be decoded", "export the clip again")
    return PreparedClip(
        pixels=np.stack([pixels for _, pixels in kept]),
        transform=preparer.transform,
        header=header,
        sector=sector,
        frame_indices=tuple(index for index, _ in kept),
        colour=header.colour_box_xyxy,
    )


def prepare_image(
    frame: UInt8[np.ndarray, "height width *channels"], sector: Sector | None, size: int
) -> tuple[UInt8[np.ndarray, "size size"], FrameTransform]:
    """Prepare one frame; returns the model pixels and the transform from native to model pixels."""
    grey = to_grey(frame)
    preparer = FramePreparer((grey.shape[0], grey.shape[1]), sector, size)
    return preparer.prepare(grey), preparer.transform


class FramePreparer:
    """Prepares grey frames of one native size and one sector.

    Attributes:
        transform: native pixels to model pixels.
        has_sector: whether what lies outside is blanked; without a sector no picture of the frame may be shown.
    """

    def __init__(self, native_size: Size, sector: Sector | None, size: int) -> None:
        self._native_size = native_size
        self.has_sector = sector is not None
        self._box = square_box(sector, native_size)
        self._outside = None if sector is None else np.where(sector_mask(sector, native_size), 255, 0).astype(np.uint8)
        x0, y0, x1, y1 = self._box
        self.transform = FrameTransform.crop_resize(
            (float(x0), float(y0), float(x1), float(y1)), native_size, (size, size)
        )

    def prepare(self, grey: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "size size"]:
        """Blank outside the sector, crop and resize one frame.

        Raises:
            ValueError: the frame is not of the native size.
        """
        if grey.shape != self._native_size:
            raise ValueError(f"a frame of {grey.shape} in a clip of {self._native_size}")
        kept = grey if self._outside is None else cv2.bitwise_and(grey, self._outside)
        square = _crop_padded(kept, self._box)
        return _resize(square, self.transform.target_size[0])


def to_grey(frame: UInt8[np.ndarray, "height width *channels"]) -> UInt8[np.ndarray, "height width"]:
    """Grey by ITU-R BT.601 luminance; a grey frame is returned as it is."""
    if frame.ndim == 2:
        return frame
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY), np.uint8)


def square_box(sector: Sector | None, native_size: Size) -> tuple[int, int, int, int]:
    """The square to crop, whole pixel edges (x0, y0, x1, y1); it may reach outside the image.

    It starts at the top of the sector (where the transducer is), is centred on it sideways, and as wide as the longer
    side of the sector's box, so that nothing of the sector is lost and the aspect is kept.
    """
    height, width = native_size
    left, top, right, bottom = sector.box_xyxy if sector else (0.0, 0.0, float(width), float(height))
    x0, y0 = math.floor(left + 1e-6), math.floor(top + 1e-6)
    x1, y1 = math.ceil(right - 1e-6), math.ceil(bottom - 1e-6)
    side = max(x1 - x0, y1 - y0)
    x0 -= (side - (x1 - x0)) // 2
    return x0, y0, x0 + side, y0 + side


def prepare_labels(
    labels: UInt8[np.ndarray, "height width"], transform: FrameTransform
) -> UInt8[np.ndarray, "size size"]:
    """A native label map on the model grid: the label under each model pixel's centre; 0 outside the image."""
    return _sample_nearest(labels, transform.inverse)


def to_native_labels(
    labels: UInt8[np.ndarray, "size size"], transform: FrameTransform
) -> UInt8[np.ndarray, "height width"]:
    """A label map in native pixels: the label under each native pixel's centre; 0 outside the crop.

    Args:
        labels: label map in model pixels.
        transform: native pixels to model pixels.
    """
    return _sample_nearest(labels, transform)


def probabilities_to_native(
    probabilities: Float[np.ndarray, "structures size size"],
    transform: FrameTransform,
    labels: Sequence[int] | None = None,
    threshold: float = 0.5,
) -> UInt8[np.ndarray, "height width"]:
    """Interpolate probabilities linearly to native pixels and turn them into one label map.

    Interpolating probabilities before deciding gives smooth native contours where labels would give stairs.

    Args:
        probabilities: one map per structure in model pixels, without background.
        transform: native pixels to model pixels.
        labels: the label of each map; by default 1, 2, 3...
        threshold: a pixel whose greatest probability stays below is background.

    Returns:
        uint8 label map of the native size; 0 is background.

    Raises:
        ValueError: there are not as many labels as maps.
    """
    values = np.arange(1, len(probabilities) + 1) if labels is None else np.asarray(labels)
    if len(values) != len(probabilities):
        raise ValueError(f"{len(probabilities)} probability maps but {len(values)} labels")
    native = np.zeros(transform.source_size, np.uint8)
    best = np.full(transform.source_size, threshold, np.float32)
    for label, probability in zip(values, probabilities, strict=True):
        here = sample_linear(probability, transform)
        wins = here > best
        native[wins] = label
        best[wins] = here[wins]
    return native


def sample_linear(image: Float[np.ndarray, "h w"], transform: FrameTransform) -> Float[np.ndarray, "height width"]:
    """Values of ``image`` (on the target grid) under every source pixel by linear interpolation; 0 outside its edges.

    The transform of a clip maps from model to native pixels; its inverse the other way.
    """
    rows, columns = _grid_coordinates(transform)
    height, width = image.shape
    upper, lower, down = _neighbours(rows, height)
    left, right, across = _neighbours(columns, width)
    values = np.asarray(image, np.float32)
    # columns first: the intermediate result then has as few rows as the small image
    wide = values[:, left] * (1 - across) + values[:, right] * across
    sampled: Float[np.ndarray, "height width"] = wide[upper] * (1 - down)[:, None] + wide[lower] * down[:, None]
    sampled[(rows < -0.5) | (rows > height - 0.5)] = 0
    sampled[:, (columns < -0.5) | (columns > width - 0.5)] = 0
    return sampled


def _checked(frame: UInt8[np.ndarray, "height width *channels"], header: ClipHeader) -> UInt8[np.ndarray, "h w *c"]:
    if frame.shape[:2] != header.size:
        raise ReadError(
            header.clip_id,
            f"a frame of {frame.shape[1]} x {frame.shape[0]} pixels in a clip of {header.size[1]} x {header.size[0]}",
            "export the clip again with one frame size",
        )
    return frame


def _first_frames(stream: Iterator[UInt8[np.ndarray, "h w"]], size: Size) -> list[UInt8[np.ndarray, "h w"]]:
    """About the first second of a clip, within the memory for the sample."""
    affordable = max(3, _SAMPLE_BYTES // (size[0] * size[1]))
    return [frame for _, frame in zip(range(min(_SAMPLE_FRAMES, affordable)), stream, strict=False)]


def _crop_padded(
    image: UInt8[np.ndarray, "height width"], box: tuple[int, int, int, int]
) -> UInt8[np.ndarray, "side side"]:
    """The box cut out of the image; black where it reaches outside."""
    height, width = image.shape
    x0, y0, x1, y1 = box
    inside = image[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)]
    pads = (max(0, -y0), max(0, y1 - height), max(0, -x0), max(0, x1 - width))
    return np.asarray(cv2.copyMakeBorder(inside, *pads, cv2.BORDER_CONSTANT, value=0), np.uint8)


def _resize(square: UInt8[np.ndarray, "side side"], size: int) -> UInt8[np.ndarray, "size size"]:
    method = cv2.INTER_AREA if square.shape[0] >= size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size, size), interpolation=method), np.uint8)


def _grid_coordinates(transform: FrameTransform) -> tuple[Float[np.ndarray, "h"], Float[np.ndarray, "w"]]:
    """Target row of every source row, and target column of every source column.

    Raises:
        ValueError: the transform rotates or shears, so rows do not map to rows.
    """
    matrix = transform.matrix
    if abs(matrix[0, 1]) > 1e-9 or abs(matrix[1, 0]) > 1e-9:
        raise ValueError("label maps travel through crops and resizes only, not through rotations or shears")
    height, width = transform.source_size
    return np.arange(height) * matrix[1, 1] + matrix[1, 2], np.arange(width) * matrix[0, 0] + matrix[0, 2]


def _sample_nearest(image: UInt8[np.ndarray, "h w"], transform: FrameTransform) -> UInt8[np.ndarray, "height width"]:
    """Values of ``image`` (on the target grid of the transform) under every source pixel; 0 outside."""
    rows, columns = (np.floor(c + 0.5).astype(int) for c in _grid_coordinates(transform))
    height, width = image.shape
    sampled: UInt8[np.ndarray, "height width"] = image[
        np.clip(rows, 0, height - 1)[:, None], np.clip(columns, 0, width - 1)[None, :]
    ]
    sampled[(rows < 0) | (rows >= height)] = 0
    sampled[:, (columns < 0) | (columns >= width)] = 0
    return sampled


def _neighbours(
    coordinates: Float[np.ndarray, "n"], count: int
) -> tuple[np.ndarray, np.ndarray, Float[np.ndarray, "n"]]:
    """The two grid points around each coordinate, edge repeated, and the weight of the second."""
    clipped = np.clip(coordinates, 0, count - 1)
    first = np.minimum(np.floor(clipped).astype(int), max(0, count - 2))
    return first, np.minimum(first + 1, count - 1), (clipped - first).astype(np.float32)


@dataclass(frozen=True)
class ImageQuality:
    """How legible a clip is.

    Attributes:
        contrast: standard deviation of the grey levels of a typical frame.
        score: from 0 (blank) to 1 (full contrast).
    """

    contrast: float
    score: float


def assess_image(pixels: UInt8[np.ndarray, "frames size size"]) -> ImageQuality:
    """Legibility of prepared frames: the median over frames of their contrast.

    At most 32 evenly spread frames are used.
    """
    sample = pixels[:: max(1, len(pixels) // 32)]
    contrast = float(np.median(sample.reshape(len(sample), -1).std(axis=1)))
    score = (contrast - BLANK_CONTRAST) / (FULL_CONTRAST - BLANK_CONTRAST)
    return ImageQuality(contrast, float(np.clip(score, 0.0, 1.0)))
