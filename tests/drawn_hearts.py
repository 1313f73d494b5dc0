"""A clip of a drawn left ventricle whose volume is known on every frame, read by models that answer what was drawn.

Model pixels are native pixels, so that every error that is left is the analysis's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from ventricles import half_ellipse, half_ellipsoid_ml

from echoapex.data.preprocess import PreparedClip
from echoapex.domain import ClipHeader, FrameTransform, Sector, Spacing, ViewPrediction
from echoapex.infer.clip.reading import ClipReading
from echoapex.vocabulary import Structure, View

SIZE = 170
MILLIMETRE = Spacing(1.0, 1.0)
_WIDTH_MM, _LENGTH_MM = 44.0, 84.0


@dataclass(frozen=True)
class Estimate:
    """What the ejection fraction decoder says."""

    ef_percent: float
    interval: tuple[float, float]
    relative_volume: np.ndarray


@dataclass
class DrawnModels:
    """Answers with drawn masks and wall points; remembers the rows that it was asked to outline."""

    volumes_ml: np.ndarray
    overlaps: Mapping[int, float] = field(default_factory=dict)
    walls: Mapping[int, np.ndarray] = field(default_factory=dict)
    wall_confidence: float = 0.9
    asked: list[int] = field(default_factory=list)
    input_size: int = SIZE
    digests: Mapping[str, str] = field(default_factory=dict)

    def segment(
        self, encoded: object, rows: Sequence[int], structures: Sequence[Structure]
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        for row in rows:
            self.asked.append(row)
            cavity, atrium = draw_ventricle(float(self.volumes_ml[row]))
            drawn = {Structure.LV_CAVITY: cavity, Structure.LEFT_ATRIUM: atrium}
            masks = np.stack([drawn.get(each, np.zeros_like(cavity)) for each in structures]).astype(np.float32)
            yield row, masks, np.full(len(structures), self.overlaps.get(row, 0.9), np.float32)

    def find_wall_points(self, encoded: object, rows: Sequence[int]) -> list[tuple[int, np.ndarray, np.ndarray]]:
        return [(row, self.walls[row], np.full(4, self.wall_confidence)) for row in rows]


def draw_ventricle(volume_ml: float) -> tuple[np.ndarray, np.ndarray]:
    """Cavity and atrium at one millimetre a pixel; neither for a volume of 0."""
    if volume_ml <= 0:
        return np.zeros((SIZE, SIZE), bool), np.zeros((SIZE, SIZE), bool)
    scale = (volume_ml / half_ellipsoid_ml(_WIDTH_MM, _WIDTH_MM, _LENGTH_MM)) ** (1 / 3)
    return half_ellipse(MILLIMETRE, _WIDTH_MM * scale, _LENGTH_MM * scale, size_mm=SIZE)


def read_heart(
    volumes_ml: np.ndarray,
    *,
    fps: float = 25.0,
    view: View = View.A4C,
    view_probability: float = 0.9,
    overlaps: Mapping[int, float] | None = None,
    walls: Mapping[int, np.ndarray] | None = None,
    wall_confidence: float = 0.9,
    sector: Sector | None = None,
    colour: tuple[float, float, float, float] | None = None,
    **header: object,
) -> ClipReading:
    """The reading of a clip with one drawn ventricle a frame; a volume of 0 draws none.

    Args:
        volumes_ml: of each frame.
        fps: frames per second.
        view: what the clip shows.
        view_probability: of that view.
        overlaps: predicted overlap by row, where not 0.9.
        walls: four end points by row.
        wall_confidence: of the points.
        sector: of the clip.
        colour: box of the colour Doppler.
        header: further fields of the header.
    """
    count = len(volumes_ml)
    known = {"spacing": MILLIMETRE, **header}
    if known["spacing"] is None:
        known["spacing_reason"] = "no region"
    head = ClipHeader("clip", (SIZE, SIZE), tuple((np.arange(count) / fps).tolist()), **known)  # type: ignore[arg-type]
    models = DrawnModels(np.asarray(volumes_ml, float), overlaps or {}, walls or {}, wall_confidence)
    pixels = np.zeros((count, SIZE, SIZE), np.uint8)
    transform = FrameTransform(np.eye(3), (SIZE, SIZE), (SIZE, SIZE))
    clip = PreparedClip(pixels, transform, head, sector, tuple(range(count)), colour)
    rest = (1 - view_probability) / (len(View) - 1)
    seen = ViewPrediction({each: view_probability if each is view else rest for each in View})
    return ClipReading(clip, None, seen, models)  # type: ignore[arg-type]
