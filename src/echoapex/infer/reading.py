"""One clip while it is read: what was prepared, encoded and recognised, shared by all that is measured in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from echoapex.data.preprocess import PreparedClip
from echoapex.domain import ClipHeader, Evidence, Flag, ViewPrediction
from echoapex.infer.interpreter import Interpreter
from echoapex.infer.quality import clip_flags
from echoapex.vocabulary import View


@dataclass(frozen=True, eq=False)
class ClipReading:
    """A prepared and encoded clip with its view; ``encoded`` is opaque to all but the interpreter."""

    clip: PreparedClip
    encoded: Any
    view_prediction: ViewPrediction
    interpreter: Interpreter

    @property
    def header(self) -> ClipHeader:
        """Header of the source clip."""
        return self.clip.header

    @property
    def view(self) -> View:
        """The view."""
        return self.view_prediction.view

    @property
    def flags(self) -> tuple[Flag, ...]:
        """Flags that every value of this clip carries."""
        return clip_flags(self.header, self.view_prediction)

    def frames_of(self, rows: Sequence[int]) -> tuple[int, ...]:
        """Native frame numbers of prepared rows."""
        return tuple(self.clip.frame_indices[row] for row in rows)

    def row_of(self, frame: int) -> int:
        """Prepared row nearest to a native frame."""
        indices = self.clip.frame_indices
        return min(range(len(indices)), key=lambda row: abs(indices[row] - frame))

    def in_colour(self, points_xy: Sequence[tuple[float, float]]) -> bool:
        """Whether a point lies in the colour Doppler box (native pixels)."""
        if self.clip.colour is None:
            return False
        x0, y0, x1, y1 = self.clip.colour
        return any(x0 - 0.5 <= x <= x1 - 0.5 and y0 - 0.5 <= y <= y1 - 0.5 for x, y in points_xy)

    def evidence(
        self,
        frames: Sequence[int],
        contours_xy: dict[str, tuple[tuple[float, float], ...]] | None = None,
        points_xy: dict[str, tuple[float, float]] | None = None,
    ) -> Evidence:
        """Evidence from this clip: frames, contours and points in native pixels, and the calibration used."""
        spacing = self.header.spacing
        return Evidence(
            clip_id=self.header.clip_id,
            frames=tuple(frames),
            contours_xy=contours_xy or {},
            points_xy=points_xy or {},
            row_mm=spacing.row_mm if spacing else None,
            column_mm=spacing.column_mm if spacing else None,
            calibration_source=self.header.source.get("calibration", "") if spacing else "",
            input_sha256=self.header.source.get("sha256", ""),
        )
