"""Prompts for the promptable decoder: clicks, a box, an earlier mask, a structure name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from echoapex.domain.clip import Size
from echoapex.vocabulary import Structure

Point = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt in native pixels ``(x, y)``; a structure name alone is also a prompt (automatic segmentation).

    Raises:
        ValueError: the prompt is empty, or a part of it is outside the frame.
    """

    size: Size
    positive_xy: tuple[Point, ...] = ()
    negative_xy: tuple[Point, ...] = ()
    box_xyxy: tuple[float, float, float, float] | None = None
    mask: Bool[np.ndarray, "height width"] | None = None
    structure: Structure | None = None

    def __post_init__(self) -> None:
        given = (self.positive_xy, self.negative_xy, self.box_xyxy, self.structure)
        if not any(given) and self.mask is None:
            raise ValueError("a prompt needs a point, a box, an earlier mask or a structure name")
        height, width = self.size
        corners = [self.box_xyxy[:2], self.box_xyxy[2:]] if self.box_xyxy else []
        for x, y in (*self.positive_xy, *self.negative_xy, *corners):
            if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
                raise ValueError(f"point ({x:g}, {y:g}) is outside the frame of {width} x {height} pixels")
        if self.box_xyxy and not (self.box_xyxy[2] > self.box_xyxy[0] and self.box_xyxy[3] > self.box_xyxy[1]):
            raise ValueError(f"box {self.box_xyxy} is empty; give (x0, y0, x1, y1) with x1 > x0 and y1 > y0")
        if self.mask is not None and self.mask.shape != self.size:
            raise ValueError(f"the earlier mask has size {self.mask.shape}, the frame {self.size}")
