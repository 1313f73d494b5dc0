"""The KoLeo regulariser: features of a batch are to spread evenly over the sphere."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from echoapex.losses.process_gather import gather_over_processes


def koleo_loss(features: Float[Tensor, "batch width"], epsilon: float = 1e-8) -> Float[Tensor, ""]:
    """Minus the mean logarithm of the distance from each feature, brought to unit length, to its nearest neighbour.

    The neighbour is found without a gradient, the distance has one. A batch of one has no neighbour and a loss of zero.
    The batch is that of all processes of ``torch.distributed`` together. Computed in single precision.

    Source: Sablayrolles et al., "Spreading vectors for similarity search", 2019, equation 3.

    Args:
        features: of any length; only their direction counts.
        epsilon: added to the distance, for features that coincide.
    """
    with torch.autocast(features.device.type, enabled=False):
        directions = gather_over_processes(functional.normalize(features.float(), dim=-1))
        if len(directions) < 2:
            return directions.sum() * 0
        with torch.no_grad():
            cosines = directions @ directions.T
            nearest = cosines.fill_diagonal_(-2).argmax(dim=1)
        distance = (directions - directions[nearest] + epsilon).norm(dim=-1)
        return -torch.log(distance + epsilon).mean()
