"""What a person has corrected in one clip: view, calibration, cycle, walls, and which outlines.

The corrected label maps themselves are no part of it; they lie beside it, in the format of ``masks/CLIP.npz``.
"""

from __future__ import annotations

import math
from typing import Self

from pydantic import Field, field_validator, model_validator

from echoapex.config import Config
from echoapex.domain.clip import Spacing
from echoapex.domain.results import WallPoint
from echoapex.vocabulary import Structure, View

LEAST_SPACING_MM = 0.01
LARGEST_SPACING_MM = 5.0
SET_BY_HAND = "set by hand"
"""How the calibration source of a corrected spacing begins."""

PointXY = tuple[float, float]


class ClipCorrection(Config):
    """The corrections of one clip. What is None or empty stays as the models answered it.

    Frames are native frame numbers, points are native pixels (x, y).
    """

    clip_id: str = Field(min_length=1)
    input_sha256: str = Field(default="", description="of the file that was corrected; another file is refused")
    view: View | None = None
    set_aside: bool | None = Field(default=None, description="True: leave the clip out; False: read it nevertheless")
    ed_frames: tuple[int, ...] | None = Field(default=None, description="end-diastolic frames, ascending")
    es_frames: tuple[int, ...] | None = Field(default=None, description="end-systolic frames, ascending")
    row_mm: float | None = Field(default=None, description="mm per pixel along rows")
    column_mm: float | None = Field(default=None, description="mm per pixel along columns")
    calibration_source: str = Field(default="", description="how the spacing was found, such as 'ruler at the left'")
    wall_points: dict[int, dict[WallPoint, PointXY]] = Field(default_factory=dict, description="by frame")
    outlined: dict[int, tuple[str, ...]] = Field(
        default_factory=dict, description="by frame, the keys of the structures whose outline is a person's"
    )

    @field_validator("ed_frames", "es_frames")
    @classmethod
    def _are_frames(cls, frames: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if frames is None:
            return None
        if min(frames, default=0) < 0:
            raise ValueError(f"frames count from 0, got {min(frames)}; give frame numbers of the clip")
        return tuple(sorted(set(frames)))

    @field_validator("row_mm", "column_mm")
    @classmethod
    def _is_spacing(cls, value: float | None) -> float | None:
        if value is not None and not LEAST_SPACING_MM <= value <= LARGEST_SPACING_MM:
            raise ValueError(
                f"a pixel of {value} mm is not plausible; give mm per pixel, {LEAST_SPACING_MM} to {LARGEST_SPACING_MM}"
            )
        return value

    @field_validator("wall_points")
    @classmethod
    def _are_complete(cls, points: dict[int, dict[WallPoint, PointXY]]) -> dict[int, dict[WallPoint, PointXY]]:
        for frame, named in points.items():
            if frame < 0:
                raise ValueError(f"frames count from 0, got {frame}; give a frame number of the clip")
            missing = [point.value for point in WallPoint if point not in named]
            if missing:
                raise ValueError(f"frame {frame}: wall points lack {', '.join(missing)}; give all four")
            if not all(math.isfinite(value) for xy in named.values() for value in xy):
                raise ValueError(f"frame {frame}: a wall point is no finite number; give native pixels (x, y)")
        return points

    @field_validator("outlined")
    @classmethod
    def _are_structures(cls, outlined: dict[int, tuple[str, ...]]) -> dict[int, tuple[str, ...]]:
        for frame in outlined:
            if frame < 0:
                raise ValueError(f"frames count from 0, got {frame}; give a frame number of the clip")
        keys = {frame: {Structure.from_key(key).key for key in named} for frame, named in outlined.items()}
        return {
            frame: tuple(structure.key for structure in Structure if structure.key in named)
            for frame, named in sorted(keys.items())
            if named
        }

    @model_validator(mode="after")
    def _spacing_is_whole(self) -> Self:
        if (self.row_mm is None) != (self.column_mm is None):
            raise ValueError("a spacing has row_mm and column_mm; give both or neither")
        return self

    @property
    def spacing(self) -> Spacing | None:
        """The spacing that a person has set; None where there is none."""
        if self.row_mm is None or self.column_mm is None:
            return None
        return Spacing(self.row_mm, self.column_mm)

    @property
    def spacing_source(self) -> str:
        """What evidence says of a spacing that a person has set: ``set by hand: ruler at the left``."""
        told = self.calibration_source.strip()
        if not told or told.startswith(SET_BY_HAND):
            return told or SET_BY_HAND
        return f"{SET_BY_HAND}: {told}"

    @property
    def is_empty(self) -> bool:
        """Whether nothing was corrected."""
        known = (self.view, self.set_aside, self.ed_frames, self.es_frames, self.row_mm)
        return all(item is None for item in known) and not self.wall_points and not self.outlined

    def outlined_on(self, frame: int) -> frozenset[Structure]:
        """Structures whose outline on a frame is a person's."""
        return frozenset(Structure.from_key(key) for key in self.outlined.get(frame, ()))
