"""Views from outlines: the automatic segmentation looks first, and a small decoder reads what it found where.

A view is defined by the chambers that it cuts, so this is a second witness beside the pooled tokens, and one that knows
nothing of grey values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from echoapex.models.decoders.outline_view import OutlineViewDecoder
from echoapex.models.decoders.prompt_batch import PromptBatch
from echoapex.models.decoders.promptable import PromptableDecoder
from echoapex.models.tokens import Tokens
from echoapex.vocabulary import Structure

OUTLINED_FRAMES = 8
"""Most frames of a clip whose outlines are drawn to find its view."""

_PREFIX = "outlines."
"""How the weights of the outline decoder begin in a bundle of view classification."""

Logits = Float[Tensor, "batch views"]


class Outlines(NamedTuple):
    """What the automatic segmentation says of some frames.

    Attributes:
        maps: probability of each structure in every cell.
        overlap: of each mask with the truth, as predicted (IoU).
    """

    maps: Float[Tensor, "batch structures side side"]
    overlap: Float[Tensor, "batch structures"]


def draw_outlines(
    segmenter: PromptableDecoder, tokens: Sequence[Tokens], images: Float[Tensor, "batch 1 size size"], side: int
) -> Outlines:
    """The maps of all structures, each asked for by its name.

    Args:
        segmenter: the decoder of the segmentation.
        tokens: at the depths that it reads.
        images: standardised.
        side: cells per side of the maps.
    """
    names = PromptBatch.of_structures(tuple(Structure), len(images), images.device)
    prediction = segmenter(segmenter.embed(tokens, images), names, joint=True)
    probabilities = prediction.logits.float().sigmoid()
    return Outlines(nn.functional.adaptive_avg_pool2d(probabilities, side), prediction.iou.float())


class OutlineReader(nn.Module):
    """The second witness of a view classification.

    Args:
        segmenter: the segmentation that the decoder was taught with; it reads the tokens that the views read.
        decoder: outlines to views.
    """

    def __init__(self, segmenter: PromptableDecoder, decoder: OutlineViewDecoder) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.decoder = decoder

    def forward(self, tokens: Sequence[Tokens], images: Float[Tensor, "batch 1 size size"]) -> Logits:
        """Logits of the views of single frames."""
        logits: Tensor = self.decoder(*draw_outlines(self.segmenter, tokens, images, self.decoder.config.side))
        return logits


def agree(appearance: Logits, outlines: Logits) -> Logits:
    """Logits of both witnesses together: the sum of their log probabilities, as if neither knew of the other.

    Source: the product of experts of Hinton, "Training products of experts by minimizing contrastive divergence", 2002.
    """
    return appearance.log_softmax(dim=-1) + outlines.log_softmax(dim=-1)


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` frames: the middle ones of equal stretches.

    >>> spread(3, 8), spread(10, 4)
    ([0, 1, 2], [1, 3, 6, 8])
    """
    taken = min(count, most)
    return [(2 * number + 1) * count // (2 * taken) for number in range(taken)]


def join_outlines(appearance: Mapping[str, Tensor], outlines: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of both witnesses as one bundle of view classification holds them."""
    return {**appearance, **{f"{_PREFIX}{name}": value for name, value in outlines.items()}}


def split_outlines(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of the decoder of pooled tokens, and those of the outline decoder, if there are any."""
    appearance = {name: value for name, value in state.items() if not name.startswith(_PREFIX)}
    outlines = {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
    return appearance, outlines
