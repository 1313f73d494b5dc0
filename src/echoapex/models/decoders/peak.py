"""Where the peak of a heat map is, to a fraction of a pixel."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_ROUNDS = 6


def find_peaks(
    heatmaps: Float[Tensor, "batch points height width"], window: float
) -> tuple[Float[Tensor, "batch points 2"], Float[Tensor, "batch points"]]:
    """Centre of the highest peak of each map, and the share of probability that lies there.

    From the highest pixel, the centre of mass under a Gaussian window is taken and the window moved there, a few
    times. A window that stays on the highest pixel would pull the answer towards it; one that moves ends on the peak
    itself: for a Gaussian peak of deviation s, each round leaves s^2 / (s^2 + window^2) of the distance.

    Source: Comaniciu and Meer, "Mean shift", 2002, applied to the probabilities of a heat map.

    Args:
        heatmaps: logits; the softmax over a map is its probability.
        window: standard deviation of the window in map pixels.

    Returns:
        x and y in map pixels (centre of the first pixel at 0), and the probability within a radius of one and a half
        windows, 0 to 1.
    """
    height, width = heatmaps.shape[2:]
    probability = torch.softmax(heatmaps.float().flatten(2), dim=-1)
    highest = probability.argmax(dim=-1)
    columns = torch.arange(width, dtype=torch.float32, device=heatmaps.device)
    rows = torch.arange(height, dtype=torch.float32, device=heatmaps.device)
    x, y = (highest % width).float(), (highest // width).float()
    maps = probability.reshape(heatmaps.shape)
    for _ in range(_ROUNDS):
        along_x = torch.exp(-0.5 * ((columns - x[..., None]) / window).square())
        along_y = torch.exp(-0.5 * ((rows - y[..., None]) / window).square())
        by_column = (maps * along_y[..., None]).sum(dim=2) * along_x
        by_row = (maps * along_x[..., None, :]).sum(dim=3) * along_y
        x = (by_column * columns).sum(dim=-1) / by_column.sum(dim=-1)
        y = (by_row * rows).sum(dim=-1) / by_row.sum(dim=-1)
    squared_distance = (rows[:, None] - y[..., None, None]).square() + (columns - x[..., None, None]).square()
    near = squared_distance <= (1.5 * window) ** 2
    return torch.stack((x, y), dim=-1), (maps * near).sum(dim=(2, 3)).clamp(0, 1)
