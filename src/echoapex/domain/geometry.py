"""Pixel geometry: calibrated spacing, and the mapping from native pixels to model pixels and back.

Coordinates: ``x`` runs along columns to the right, ``y`` along rows downwards; the centre of the first pixel is (0, 0).
Sizes are ``(height, width)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

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
