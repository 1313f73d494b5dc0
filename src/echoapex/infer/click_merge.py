"""How a correction is put into the mask it corrects: only where the click asked for it, and never against the click.

A decoder that is given an earlier mask and a click may also change what nobody complained of, and may ignore the click.
Two rules prevent both. The change is taken over only in the connected parts that hold a click which the earlier mask
contradicted. Where a click is still contradicted, the logits are raised (or lowered) around it by a Gaussian just high
enough to obey it, so that unsure pixels nearby follow and sure ones stay.

Source of the first rule: Chen et al., "FocalClick: towards practical interactive image segmentation", CVPR 2022,
progressive merge. The second is ours.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float

from echoapex.domain.prompts import Point, Prompt

Logits = Float[np.ndarray, "height width"]

REACH = 0.03
"""Standard deviation of the Gaussian around an ignored click, as part of the side of the model's square."""
_HALVINGS = 7
"""So often is the reach halved: from 3 % of the square to a fraction of a pixel."""
_MARGIN = 1.0
"""How far beyond zero the logit under an obeyed click lies."""


def merge_correction(refined: Logits, previous: Logits, prompt: Prompt, side_px: float) -> Logits:
    """Put a refined mask into the one before it.

    Args:
        refined: what the decoder answered to the clicks.
        previous: the mask before, which the newest click contradicts.
        prompt: all clicks so far; boxes and names play no part.
        side_px: side of the square that the model saw, in pixels of the logits.

    Returns:
        Logits that obey every click, as long as no two opposite ones lie on the same pixel.
    """
    inside = previous > 0
    clicks = [(xy, True) for xy in prompt.positive_xy] + [(xy, False) for xy in prompt.negative_xy]
    contradicted = [xy for xy, positive in clicks if inside[_pixel(xy, inside.shape)] != positive]
    changed = _parts_with((refined > 0) != inside, contradicted)
    merged = np.where(changed, refined, previous).astype(np.float32)
    for halving in range(_HALVINGS):  # opposite clicks close together undo each other until the reach is small enough
        for xy, positive in clicks:
            obey(merged, xy, positive, REACH * side_px / 2**halving)
    return merged


def obey(logits: Logits, xy: Point, positive: bool, reach_px: float) -> None:
    """Raise or lower logits in place around a click that they contradict.

    Args:
        logits: changed in place.
        xy: the click.
        positive: whether it is inside.
        reach_px: standard deviation of the change.
    """
    here = float(logits[_pixel(xy, logits.shape)])
    if (here > 0) == positive:
        return
    rows, columns = np.ogrid[: logits.shape[0], : logits.shape[1]]
    squared = (columns - xy[0]) ** 2 + (rows - xy[1]) ** 2
    height = (abs(here) + _MARGIN) * (1 if positive else -1)
    logits += (height * np.exp(-squared / (2 * reach_px**2))).astype(np.float32)


def _parts_with(region: Bool[np.ndarray, "height width"], points: list[Point]) -> Bool[np.ndarray, "height width"]:
    """The connected parts of a region that hold one of the points."""
    _, parts = cv2.connectedComponents(region.astype(np.uint8), connectivity=8)
    wanted = {int(parts[_pixel(xy, region.shape)]) for xy in points} - {0}
    chosen: Bool[np.ndarray, "height width"] = np.isin(parts, list(wanted))
    return chosen


def _pixel(xy: Point, size: tuple[int, ...]) -> tuple[int, int]:
    """Row and column of the pixel under a point."""
    return min(max(round(xy[1]), 0), size[0] - 1), min(max(round(xy[0]), 0), size[1] - 1)
