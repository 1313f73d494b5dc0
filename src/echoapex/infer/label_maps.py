"""Native label maps of a clip, kept compressed: a label map of long runs shrinks a hundredfold."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from echoapex.domain.geometry import Size

_LEVEL = 1  # fast; label maps are runs, higher levels gain little


class LabelMaps:
    """Label maps by native frame number, of one size, in memory as zlib streams."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self._packed: dict[int, bytes] = {}

    def __setitem__(self, frame: int, labels: UInt8[np.ndarray, "height width"]) -> None:
        if labels.shape != self.size or labels.dtype != np.uint8:
            raise ValueError(f"a label map of {labels.dtype} {labels.shape} in a clip of {self.size}")
        self._packed[frame] = zlib.compress(np.ascontiguousarray(labels).tobytes(), _LEVEL)

    def __getitem__(self, frame: int) -> UInt8[np.ndarray, "height width"]:
        labels: UInt8[np.ndarray, "height width"] = np.frombuffer(
            zlib.decompress(self._packed[frame]), np.uint8
        ).reshape(self.size)
        return labels

    def __len__(self) -> int:
        return len(self._packed)

    def __contains__(self, frame: object) -> bool:
        return frame in self._packed

    def __iter__(self) -> Iterator[int]:
        return iter(self.frames)

    @property
    def frames(self) -> tuple[int, ...]:
        """Native frame numbers, ascending."""
        return tuple(sorted(self._packed))

    def nearest(self, frame: int) -> int | None:
        """The frame with a label map nearest to ``frame``; None when there is none."""
        return min(self._packed, key=lambda known: (abs(known - frame), known), default=None)
