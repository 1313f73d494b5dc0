"""How much the left ventricle differs between two frames of a clip."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

_CLOSE = 0.1
"""Differences of the logarithm below this count squared, larger ones by their size."""


def volume_change_loss(
    log_volume: Float[Tensor, "batch"],
    relative_volume: Float[Tensor, "batch"],
    clip: Int[Tensor, "batch"],
    valid: Bool[Tensor, "batch"] | None = None,
) -> Float[Tensor, ""]:
    """Mean error of the predicted ratio of volumes, over all pairs of frames of one clip; zero without any pair.

    See :func:`volume_change_errors`.
    """
    errors = volume_change_errors(log_volume, relative_volume, clip, valid)
    total: Float[Tensor, ""] = errors.mean() if len(errors) else log_volume.float().sum() * 0
    return total


def volume_change_errors(
    log_volume: Float[Tensor, "batch"],
    relative_volume: Float[Tensor, "batch"],
    clip: Int[Tensor, "batch"],
    valid: Bool[Tensor, "batch"] | None = None,
) -> Float[Tensor, "pairs"]:
    """Error of the predicted ratio of volumes, of every pair of frames of one clip.

    The ratio of two volumes is what an ejection fraction is made of; it needs no scale, and so no calibration.

    Args:
        log_volume: predicted natural logarithm of the LV volume, up to a constant of the clip.
        relative_volume: LV volume over EDV; NaN unknown.
        clip: frames with the same number belong to one clip.
        valid: False where the ventricle cannot be seen.

    Returns:
        The smooth absolute difference of the logarithms of the two ratios.
    """
    known = torch.isfinite(relative_volume) & (relative_volume > 0)
    if valid is not None:
        known = known & valid
    truth = torch.where(known, relative_volume, torch.ones_like(relative_volume)).float().log()
    predicted = log_volume.float()
    pairs = (clip[:, None] == clip[None, :]) & known[:, None] & known[None, :]
    first, second = torch.nonzero(pairs.triu(diagonal=1), as_tuple=True)
    difference = (predicted[first] - predicted[second]) - (truth[first] - truth[second])
    return functional.smooth_l1_loss(difference, torch.zeros_like(difference), reduction="none", beta=_CLOSE)
