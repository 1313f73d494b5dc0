"""Results of the four applications, in native pixels of the clip they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Bool, UInt8

from echoapex.domain.geometry import Size
from echoapex.vocabulary import Structure, View


@dataclass(frozen=True)
class ViewPrediction:
    """Probability of each view; sums to one (within 1e-3)."""

    probabilities: Mapping[View, float]

    def __post_init__(self) -> None:
        total = sum(self.probabilities.values())
        if abs(total - 1) > 1e-3 or min(self.probabilities.values()) < 0:
            raise ValueError(f"view probabilities must be non-negative and sum to one, they sum to {total:.4f}")

    @property
    def view(self) -> View:
        """The most probable view."""
        return max(self.probabilities, key=lambda view: self.probabilities[view])

    @property
    def probability(self) -> float:
        """Probability of the most probable view."""
        return self.probabilities[self.view]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Label map of one frame in native size; values are ``Structure`` labels, 0 is background.

    ``confidence`` is the decoder's predicted IoU per structure asked for, 0 to 1.
    """

    frame: int
    labels: UInt8[np.ndarray, "height width"]
    confidence: Mapping[Structure, float]

    def __post_init__(self) -> None:
        if self.labels.dtype != np.uint8 or self.labels.ndim != 2:
            raise ValueError("a label map is uint8 (height, width)")

    @property
    def size(self) -> Size:
        """Height and width."""
        return (self.labels.shape[0], self.labels.shape[1])

    def mask(self, structure: Structure) -> Bool[np.ndarray, "height width"]:
        """Boolean mask of one structure."""
        found: Bool[np.ndarray, "height width"] = self.labels == int(structure)
        return found


class WallPoint(StrEnum):
    """The four LV wall end points on PLAX, from the transducer downwards, along one line across the LV."""

    SEPTUM_RV_SIDE = "septum_rv_side"
    SEPTUM_LV_SIDE = "septum_lv_side"
    POSTERIOR_WALL_LV_SIDE = "posterior_wall_lv_side"
    POSTERIOR_WALL_EPICARDIUM = "posterior_wall_epicardium"


@dataclass(frozen=True)
class Landmarks:
    """Wall end points of one frame, native pixels, each with a confidence from 0 to 1."""

    frame: int
    points_xy: Mapping[WallPoint, tuple[float, float]]
    confidence: Mapping[WallPoint, float]

    def __post_init__(self) -> None:
        if set(self.points_xy) != set(WallPoint) or set(self.confidence) != set(WallPoint):
            raise ValueError("landmarks name all four wall points with a confidence each")


@dataclass(frozen=True)
class VolumeCurve:
    """LV volume over frames: ``relative`` to the largest volume, and in ``ml`` where the clip is calibrated.

    ``frames`` are frame indices; ``ed_frames``/``es_frames`` index the clip, one pair per beat found.
    """

    frames: tuple[int, ...]
    times_s: tuple[float, ...]
    relative: tuple[float, ...]
    ml: tuple[float, ...] | None
    ed_frames: tuple[int, ...]
    es_frames: tuple[int, ...]
    method: str

    def __post_init__(self) -> None:
        lengths = {len(self.frames), len(self.times_s), len(self.relative), len(self.ml or self.relative)}
        if len(lengths) != 1:
            raise ValueError("a volume curve needs as many times and volumes as frames")
