"""Models that need not find the view, because a person or a data set has told it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from echoapex.domain import ViewPrediction
from echoapex.infer.interpreter import EjectionEstimate, FrameMasks, FrameWallPoints, Interpreter
from echoapex.vocabulary import Structure, View


class KnownViewInterpreter:
    """An interpreter that answers every question with the models it wraps, but the view with the one it was told."""

    def __init__(self, models: Interpreter, view: View) -> None:
        self._models, self._view = models, view

    @property
    def input_size(self) -> int:
        """Side of the square frames that the models want, in pixels."""
        return self._models.input_size

    @property
    def digests(self) -> Mapping[str, str]:
        """sha256 of the weights, by bundle."""
        return self._models.digests

    def encode(self, pixels: UInt8[np.ndarray, "frames size size"], times_s: Sequence[float]) -> Any:
        """A clip encoded once."""
        return self._models.encode(pixels, times_s)

    def classify_view(self, _encoded: Any) -> ViewPrediction:
        """The view that was told, with certainty."""
        return ViewPrediction({view: float(view is self._view) for view in View})

    def segment(self, encoded: Any, rows: Sequence[int], structures: Sequence[Structure]) -> Iterator[FrameMasks]:
        """Masks of the named structures on some frames, in order."""
        return self._models.segment(encoded, rows, structures)

    def find_wall_points(self, encoded: Any, rows: Sequence[int]) -> Sequence[FrameWallPoints]:
        """The four LV wall end points on some PLAX frames."""
        return self._models.find_wall_points(encoded, rows)

    def estimate_ejection_fraction(self, encoded: Any) -> EjectionEstimate:
        """The ejection fraction of the whole clip."""
        return self._models.estimate_ejection_fraction(encoded)
