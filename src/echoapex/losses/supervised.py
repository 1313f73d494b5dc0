"""Losses of the supervised tasks, one function each.

Each loss computes in single precision, whatever the precision of the model, and returns a scalar to minimise. If the
batch has no known label, loss and gradient are zero.

The targets that they need are built here too: heat maps of points, and masks at the resolution of the decoder.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

_EF_SCALE_POINTS = 10.0
_CLOSE_LOG_RATIO = 0.1
"""Below this difference of logarithms the loss is quadratic, above it linear."""


def gaussian_target(
    centres_xy: Float[Tensor, "*batch 2"], size: tuple[int, int], sigma: float
) -> Float[Tensor, "*batch height width"]:
    """Gaussians around sub-pixel centres, each summing to one over the map.

    Args:
        centres_xy: in map pixels, centre of the first pixel at (0, 0).
        size: height and width of the map.
        sigma: standard deviation in map pixels.
    """
    height, width = size
    columns = torch.arange(width, dtype=torch.float32, device=centres_xy.device)
    rows = torch.arange(height, dtype=torch.float32, device=centres_xy.device)
    # a softmax of the exponents cannot underflow to an empty row, however far the centre is
    along_x = torch.softmax(-0.5 * ((columns - centres_xy[..., :1]) / sigma).square(), dim=-1)
    along_y = torch.softmax(-0.5 * ((rows - centres_xy[..., 1:]) / sigma).square(), dim=-1)
    return along_y[..., :, None] * along_x[..., None, :]


@runtime_checkable
class EfOutput(Protocol):
    """What ``ef_loss`` reads of a prediction."""

    @property
    def ef_percent(self) -> Float[Tensor, "batch"]:
        """Ejection fraction."""

    @property
    def ef_log_variance(self) -> Float[Tensor, "batch"]:
        """Natural logarithm of the expected squared error in squared points."""

    @property
    def relative_volume(self) -> Float[Tensor, "batch frames"]:
        """LV volume over the end-diastolic volume."""


def smoothed_cross_entropy(
    logits: Float[Tensor, "batch classes"], labels: Int[Tensor, "batch"], smoothing: float = 0.1
) -> Float[Tensor, ""]:
    """Cross-entropy with a share ``smoothing`` of the target spread over all classes.

    Source: Szegedy et al., "Rethinking the Inception architecture", 2016, section 7.

    Args:
        logits: of any scale.
        labels: index of the true class; a negative one is unknown and does not count.
        smoothing: 0 to 1.
    """
    known = labels >= 0
    each = functional.cross_entropy(
        logits.float(), labels.clamp_min(0).long(), reduction="none", label_smoothing=smoothing
    )
    return _mean_where(each, known)


def dice_loss(
    logits: Float[Tensor, "batch prompts height width"],
    masks: Float[Tensor, "batch prompts height width"],
    valid: Bool[Tensor, "batch prompts"] | None = None,
) -> Float[Tensor, ""]:
    """One minus the soft Dice coefficient of each mask, averaged over the valid ones.

    One pixel is added to overlap and sum, so that an empty mask of an absent structure has a loss of zero.

    Source: Milletari et al., "V-Net", 2016, equation 3 (with plain instead of squared sums).

    Args:
        logits: positive is inside.
        masks: 0 to 1; between the two where a pixel is partly inside.
        valid: False where the truth is not known.
    """
    inside, truth = torch.sigmoid(logits.float()).flatten(2), masks.float().flatten(2)
    overlap = (inside * truth).sum(dim=-1)
    dice = (2 * overlap + 1) / (inside.sum(dim=-1) + truth.sum(dim=-1) + 1)
    return _mean_where(1 - dice, valid)


def pixel_loss(
    logits: Float[Tensor, "batch prompts height width"],
    masks: Float[Tensor, "batch prompts height width"],
    valid: Bool[Tensor, "batch prompts"] | None = None,
    focus: float = 0.0,
) -> Float[Tensor, ""]:
    """Binary cross-entropy of every pixel; with ``focus`` > 0 the focal loss, which gives easy pixels less weight.

    Source: Lin et al., "Focal loss for dense object detection", 2017, equation 4.

    Args:
        logits: positive is inside.
        masks: 0 to 1.
        valid: False where the truth is not known.
        focus: exponent gamma of the paper; 0 is plain cross-entropy.
    """
    scores, truth = logits.float(), masks.float()
    each = functional.binary_cross_entropy_with_logits(scores, truth, reduction="none")
    if focus > 0:
        inside = torch.sigmoid(scores)
        probability_of_truth = truth * inside + (1 - truth) * (1 - inside)
        each = each * (1 - probability_of_truth).clamp_min(1e-6).pow(focus)
    return _mean_where(each.flatten(2).mean(dim=-1), valid)


def mask_loss(
    logits: Float[Tensor, "batch prompts height width"],
    masks: Float[Tensor, "batch prompts height width"],
    valid: Bool[Tensor, "batch prompts"] | None = None,
    pixel_weight: float = 1.0,
    focus: float = 0.0,
) -> Float[Tensor, ""]:
    """Sum of Dice and pixel loss: Dice scores the whole shape, the pixel loss every pixel.

    Source: Isensee et al., "nnU-Net", 2021 (sum of Dice and cross-entropy).

    Args:
        logits: positive is inside.
        masks: 0 to 1; ``losses.mask_target`` makes them. An absent structure is an empty mask, and counts.
        valid: False where the truth is not known, as for a structure that was never drawn.
        pixel_weight: weight of the pixel loss.
        focus: exponent of the focal loss.
    """
    return dice_loss(logits, masks, valid) + pixel_weight * pixel_loss(logits, masks, valid, focus)


def iou_loss(
    predicted_iou: Float[Tensor, "batch prompts"],
    logits: Float[Tensor, "batch prompts height width"],
    masks: Float[Tensor, "batch prompts height width"],
    valid: Bool[Tensor, "batch prompts"] | None = None,
) -> Float[Tensor, ""]:
    """Squared error between the predicted IoU and the IoU of the thresholded mask; the mask gets no gradient.

    The IoU of an empty mask with an empty structure is 1.

    Source: Kirillov et al., "Segment anything", 2023, appendix A.

    Args:
        predicted_iou: 0 to 1.
        logits: positive is inside.
        masks: 0 to 1; inside from one half.
        valid: False where the truth is not known.
    """
    inside, truth = (logits.detach() > 0).flatten(2), (masks >= 0.5).flatten(2)
    union = (inside | truth).sum(dim=-1)
    iou = torch.where(union > 0, (inside & truth).sum(dim=-1) / union.clamp_min(1), 1.0)
    return _mean_where((predicted_iou.float() - iou).square(), valid)


def heatmap_loss(
    heatmaps: Float[Tensor, "batch points height width"],
    points_xy: Float[Tensor, "batch points 2"],
    sigma_px: float = 3.0,
    coordinate_weight: float = 0.02,
    stride: int = 2,
) -> Float[Tensor, ""]:
    """Divergence of each heat map from a Gaussian at the true point, and the distance of its centre of mass.

    The first is the Kullback-Leibler divergence, zero for a perfect map. The second is the mean absolute difference
    of x and y in input pixels. A point outside the map does not count.

    Sources: Tompson et al., "Joint training of a convolutional network and a graphical model", 2014 (Gaussian heat
    maps); Sun et al., "Integral human pose regression", 2018 (centre of mass).

    Args:
        heatmaps: logits; the softmax over a map is its probability.
        points_xy: true points in input pixels.
        sigma_px: standard deviation of the Gaussian in input pixels.
        coordinate_weight: weight of the distance, per input pixel.
        stride: input pixels per map pixel; map pixel ``i`` is centred at input pixel ``stride i + (stride - 1) / 2``.
    """
    height, width = heatmaps.shape[2:]
    centres = (points_xy.float() - (stride - 1) / 2) / stride
    limits = torch.tensor([width, height], device=centres.device)
    on_map = ((centres >= -0.5) & (centres <= limits - 0.5)).all(dim=-1)
    centres = torch.where(on_map[..., None], centres, 0.0)
    target = gaussian_target(centres, (height, width), sigma_px / stride)
    log_probability = torch.log_softmax(heatmaps.float().flatten(2), dim=-1)
    divergence = functional.kl_div(log_probability, target.flatten(2), reduction="none").sum(dim=-1)
    probability = log_probability.exp().reshape(heatmaps.shape)
    columns = torch.arange(width, device=heatmaps.device, dtype=torch.float32)
    rows = torch.arange(height, device=heatmaps.device, dtype=torch.float32)
    mass_centre = torch.stack(
        ((probability.sum(dim=2) * columns).sum(dim=-1), (probability.sum(dim=3) * rows).sum(dim=-1)), dim=-1
    )
    distance_px = stride * (mass_centre - centres).abs().mean(dim=-1)
    return _mean_where(divergence, on_map) + coordinate_weight * _mean_where(distance_px, on_map)


def ef_loss(
    prediction: EfOutput,
    ef_percent: Float[Tensor, "batch"],
    relative_volume: Float[Tensor, "batch frames"],
    frame_mask: Bool[Tensor, "batch frames"] | None = None,
    curve_weight: float = 2.0,
    interval_weight: float = 0.1,
) -> Float[Tensor, ""]:
    """Smooth error of the ejection fraction, likelihood of the error under the predicted variance, error of the curve.

    The likelihood trains only the variance; it would make the mean learn slowest where its error is largest.

    Sources: Girshick, "Fast R-CNN", 2015 (smooth L1); Nix and Weigend, "Estimating the mean and variance of the target
    probability distribution", 1994; Seitzer et al., "On the pitfalls of heteroscedastic uncertainty estimation", 2022.

    Args:
        prediction: of the spatiotemporal decoder.
        ef_percent: true ejection fraction; NaN where unknown.
        relative_volume: true LV volume over the end-diastolic volume; NaN where unknown.
        frame_mask: False for padding frames, whose volume does not count; needed only where padding is not NaN.
        curve_weight: weight of the mean absolute error of the curve.
        interval_weight: weight of the likelihood.
    """
    known = torch.isfinite(ef_percent)
    error = prediction.ef_percent.float() - torch.where(known, ef_percent.float(), 0.0)
    zero = torch.zeros_like(error)
    accuracy = functional.smooth_l1_loss(error / _EF_SCALE_POINTS, zero, reduction="none", beta=0.5)
    log_variance = prediction.ef_log_variance.float()
    surprise = 0.5 * (log_variance + error.detach().square() * torch.exp(-log_variance))
    drawn = torch.isfinite(relative_volume)
    if frame_mask is not None:
        drawn = drawn & frame_mask
    curve = (prediction.relative_volume.float() - torch.where(drawn, relative_volume.float(), 0.0)).abs()
    return (
        _mean_where(accuracy, known)
        + interval_weight * _mean_where(surprise, known)
        + curve_weight * _mean_where(curve, drawn)
    )


def _mean_where(values: Tensor, valid: Tensor | None) -> Float[Tensor, ""]:
    """Mean of the valid values; zero if there is none."""
    if valid is None:
        return values.sum() / max(1, values.numel())
    return torch.where(valid, values, 0.0).sum() / valid.sum().clamp_min(1)


_CLOSE = 0.1
"""Below this difference of logarithms the loss is quadratic, above it linear."""


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

    An ejection fraction depends only on the ratio of two volumes, so the loss needs no calibration.

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
    return functional.smooth_l1_loss(difference, torch.zeros_like(difference), reduction="none", beta=_CLOSE_LOG_RATIO)
