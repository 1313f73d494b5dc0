"""What the analysis asks of models, in plain numpy: encode a clip once, then ask as many questions as needed.

The analysis is written against this protocol, so that it can be read and tested without any weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from echoapex.domain import ViewPrediction
from echoapex.vocabulary import Structure

FrameMasks = tuple[int, Float[np.ndarray, "structures size size"], Float[np.ndarray, "structures"]]
"""Row of the clip, probabilities in model pixels, predicted overlap (IoU) with the truth."""
FrameWallPoints = tuple[int, Float[np.ndarray, "4 2"], Float[np.ndarray, "4"]]
"""Row of the clip, wall points in model pixels in ``WallPoint`` order, confidence."""


class EjectionEstimate(Protocol):
    """Ejection fraction of a clip in percent with a 95 % interval, and each frame's LV volume over the largest."""

    @property
    def ef_percent(self) -> float:
        """Ejection fraction."""
        ...

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of the 95 % interval, in percent."""
        ...

    @property
    def relative_volume(self) -> Float[np.ndarray, "frames"]:
        """Volume of every frame over the largest."""
        ...


class Interpreter(Protocol):
    """Models that read prepared clips; rows count the frames of the clip as it was prepared."""

    @property
    def input_size(self) -> int:
        """Side of the square frames that the models want, in pixels."""
        ...

    @property
    def digests(self) -> Mapping[str, str]:
        """sha256 of the weights, by bundle."""
        ...

    def encode(self, pixels: UInt8[np.ndarray, "frames size size"], times_s: Sequence[float]) -> Any:
        """A clip encoded once; what it is only the other methods know."""
        ...

    def classify_view(self, encoded: Any) -> ViewPrediction:
        """The view of the whole clip."""
        ...

    def segment(self, encoded: Any, rows: Sequence[int], structures: Sequence[Structure]) -> Iterator[FrameMasks]:
        """Masks of the named structures on some frames, in order."""
        ...

    def find_wall_points(self, encoded: Any, rows: Sequence[int]) -> Sequence[FrameWallPoints]:
        """The four LV wall end points on some PLAX frames."""
        ...

    def estimate_ejection_fraction(self, encoded: Any) -> EjectionEstimate:
        """The ejection fraction of the whole clip."""
        ...


@runtime_checkable
class EchoDoubter(Protocol):
    """Models that may have learned what is no echocardiogram; an interpreter need not be one."""

    def doubts_echo(self, encoded: Any) -> bool:
        """Whether an encoded clip is no echocardiogram; False where nothing was learned."""
        ...
