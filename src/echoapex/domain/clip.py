"""A clip, and the geometry of its pixels.

A clip is the frames of one instance with times, calibration and provenance, but without patient identifiers. The
geometry is the calibrated spacing, and the mapping from native pixels to model pixels and back.

Coordinates: ``x`` runs along columns to the right, ``y`` along rows downwards; the centre of the first pixel is (0, 0).
Sizes are ``(height, width)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from jaxtyping import Float, UInt8

from echoapex.domain.ecg import Ecg
from echoapex.vocabulary import View

Size = tuple[int, int]


@dataclass(frozen=True)
class Spacing:
    """Calibrated pixel size in mm. Unknown spacing is represented by ``None``, never by 1.0.

    Raises:
        ValueError: a value is not a positive finite number.
    """

    row_mm: float
    column_mm: float

    def __post_init__(self) -> None:
        for name, value in (("row_mm", self.row_mm), ("column_mm", self.column_mm)):
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive number of mm per pixel, got {value!r}")

    @property
    def pixel_area_mm2(self) -> float:
        """Area of one pixel in mm2."""
        return self.row_mm * self.column_mm

    def distance_mm(self, a_xy: Float[np.ndarray, "2"], b_xy: Float[np.ndarray, "2"]) -> float:
        """Distance in mm between two points given in pixels."""
        dx, dy = np.asarray(b_xy, float) - np.asarray(a_xy, float)
        return float(np.hypot(dx * self.column_mm, dy * self.row_mm))


@dataclass(frozen=True, eq=False)
class FrameTransform:
    """An affine map of points from a source image (native) to a target image (model input).

    ``matrix`` is 3 x 3 and acts on ``(x, y, 1)``.

    Raises:
        ValueError: the matrix cannot be inverted, or a size is not positive.
    """

    matrix: Float[np.ndarray, "3 3"]
    source_size: Size
    target_size: Size

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
            raise ValueError("a frame transform needs an invertible 3 x 3 matrix")
        if min(*self.source_size, *self.target_size) < 1:
            raise ValueError("source and target sizes must be at least 1 x 1")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def crop_resize(cls, box_xyxy: tuple[float, float, float, float], source: Size, target: Size) -> FrameTransform:
        """The map that resizes a box (pixel edges; it may extend beyond the image) to the whole target."""
        x0, y0, x1, y1 = box_xyxy
        sx, sy = target[1] / (x1 - x0), target[0] / (y1 - y0)
        # from pixel edges to pixel centres
        matrix = np.array([[sx, 0, sx * (0.5 - x0) - 0.5], [0, sy, sy * (0.5 - y0) - 0.5], [0, 0, 1.0]])
        return cls(matrix, source, target)

    @property
    def inverse(self) -> FrameTransform:
        """The map from the target back to the source."""
        return FrameTransform(np.linalg.inv(self.matrix), self.target_size, self.source_size)

    def map_points(self, points_xy: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Map source points to target points."""
        points = np.asarray(points_xy, dtype=np.float64)
        mapped: Float[np.ndarray, "*n 2"] = points @ self.matrix[:2, :2].T + self.matrix[:2, 2]
        return mapped

    def map_spacing(self, spacing: Spacing) -> Spacing:
        """Spacing of the target image; defined for maps without rotation or shear.

        Raises:
            ValueError: the map rotates or shears, so there is no spacing per row and column.
        """
        if abs(self.matrix[0, 1]) > 1e-9 or abs(self.matrix[1, 0]) > 1e-9:
            raise ValueError("a rotated or sheared image has no spacing per row and column")
        return Spacing(
            row_mm=spacing.row_mm / abs(float(self.matrix[1, 1])),
            column_mm=spacing.column_mm / abs(float(self.matrix[0, 0])),
        )


class ContentKind(StrEnum):
    """What an image shows; only B-mode and colour Doppler are analysed as tissue images."""

    B_MODE = "b_mode"
    COLOUR_DOPPLER = "colour_doppler"
    M_MODE = "m_mode"
    SPECTRAL_DOPPLER = "spectral_doppler"
    SPLIT_SCREEN = "split_screen"
    TEXT_SCREEN = "text_screen"
    NOT_ECHO = "not_echo"


@dataclass(frozen=True)
class Sector:
    """The fan (or rectangle) of ultrasound data inside the image.

    ``box_xyxy`` is (x0, y0, x1, y1) in pixel edges, so its width is x1 - x0. ``polygon_xy`` is the outline of the
    imaged area in pixel centres, point by point; it is empty if only the box is known.
    """

    box_xyxy: tuple[float, float, float, float]
    polygon_xy: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box_xyxy
        if not (x1 > x0 and y1 > y0):
            raise ValueError(f"an empty sector: {self.box_xyxy}")


@dataclass(frozen=True)
class ClipHeader:
    """Everything that is known about a clip without its pixels.

    ``clip_id`` is a digest or a file stem without identifiers. ``spacing`` is None if the clip is not calibrated; then
    ``spacing_reason`` says why. ``frame_times_s`` increase from 0; ``frame_times_known`` is False if a nominal rate was
    assumed (then every value that depends on the rate must be flagged). ``colour_box_xyxy`` is the colour Doppler box
    in pixel edges, or None. ``r_wave_times_s`` are those that the file names; ``ecg`` is on the same time.
    """

    clip_id: str
    size: Size
    frame_times_s: tuple[float, ...]
    frame_times_known: bool = True
    spacing: Spacing | None = None
    spacing_reason: str = ""
    sector: Sector | None = None
    content: ContentKind = ContentKind.B_MODE
    content_reason: str = ""
    colour_box_xyxy: tuple[float, float, float, float] | None = None
    r_wave_times_s: tuple[float, ...] = ()
    ecg: Ecg | None = None
    heart_rate_bpm: float | None = None
    patient_sex: str | None = None
    patient_height_m: float | None = None
    patient_weight_kg: float | None = None
    view: View | None = None
    manufacturer: str = ""
    flags: tuple[str, ...] = ()
    source: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        times = np.asarray(self.frame_times_s, dtype=float)
        if times.size < 1:
            raise ValueError("a clip has at least one frame")
        if times.size > 1 and not (np.diff(times) > 0).all():
            raise ValueError("frame times must increase")
        if self.spacing is None and not self.spacing_reason:
            raise ValueError("a clip without spacing must say why (spacing_reason)")

    @property
    def frame_count(self) -> int:
        """Number of frames."""
        return len(self.frame_times_s)

    def with_flags(self, *flags: str) -> ClipHeader:
        """The same header with more flags."""
        return replace(self, flags=(*self.flags, *(f for f in flags if f not in self.flags)))


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip in memory: header and read-only frames, ``(frames, height, width)`` grey or ``(..., 3)`` RGB."""

    header: ClipHeader
    frames: UInt8[np.ndarray, "frames height width *channels"]

    def __post_init__(self) -> None:
        frames = np.asarray(self.frames)
        if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or (frames.ndim == 4 and frames.shape[3] != 3):
            raise ValueError(f"frames must be uint8 (frames, height, width[, 3]), got {frames.dtype} {frames.shape}")
        if frames.shape[0] != self.header.frame_count or frames.shape[1:3] != self.header.size:
            raise ValueError(
                f"header says {self.header.frame_count} frames of {self.header.size}, pixels are {frames.shape[:3]}"
            )
        view = frames.view()
        view.setflags(write=False)
        object.__setattr__(self, "frames", view)
