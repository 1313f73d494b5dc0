"""The masks that a label map asks for, at the resolution of the decoder."""

from __future__ import annotations

from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional


def mask_target(
    labels: UInt8[Tensor, "batch height width"], structures: Int[Tensor, "batch prompts"], stride: int = 2
) -> Float[Tensor, "batch prompts height2 width2"]:
    """How much of each ``stride`` x ``stride`` cell belongs to each structure, 0 to 1.

    Cell ``i`` is centred at pixel ``stride i + (stride - 1) / 2`` of the label map, as are the decoder's mask logits.

    Args:
        labels: ``Structure`` values; 0 is background.
        structures: the ``Structure`` value of every prompt; one that the map does not have gives an empty mask.
        stride: label-map pixels per cell.
    """
    inside = labels[:, None] == structures[:, :, None, None]
    return functional.avg_pool2d(inside.float(), stride)
