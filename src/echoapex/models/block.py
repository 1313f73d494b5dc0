"""One transformer block: attention, then a small network per token, each added to what was there."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from echoapex.models.attention import SelfAttention
from echoapex.models.position import Rotation


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them, applied to each token alone; four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def forward(self, tokens: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Transform each token."""
        transformed: Tensor = self.contract(nn.functional.gelu(self.expand(tokens)))
        return transformed


class LayerScale(nn.Module):
    """A learned gain per channel on a residual branch.

    Source: Touvron et al., "Going deeper with image transformers" (CaiT), 2021.
    """

    def __init__(self, width: int, initial_gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((width,), initial_gain))

    def forward(self, tokens: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Scale each channel."""
        return tokens * self.gain


class DropPath(nn.Module):
    """While training, leaves a residual branch out for a random part of the images, and scales up the rest.

    Source: Huang et al., "Deep networks with stochastic depth", 2016.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """Drop whole images from the branch; the expectation stays the same."""
        if not self.training or self.probability == 0:
            return tokens
        kept = 1 - self.probability
        keep = torch.rand(tokens.shape[0], 1, 1, device=tokens.device) < kept
        return tokens * (keep.to(tokens.dtype) / kept)


class Block(nn.Module):
    """A pre-norm transformer block.

    Args:
        width: length of a token.
        heads: number of attention heads.
        layer_scale: initial gain of both residual branches; ``None`` for none.
        drop_path: probability with which a branch is left out for an image while training.
        norm_epsilon: added to the variance by layer normalisation.
    """

    def __init__(
        self, width: int, heads: int, layer_scale: float | None, drop_path: float, norm_epsilon: float
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=norm_epsilon)
        self.attention = SelfAttention(width, heads)
        self.attention_scale = nn.Identity() if layer_scale is None else LayerScale(width, layer_scale)
        self.feed_forward_norm = nn.LayerNorm(width, eps=norm_epsilon)
        self.feed_forward = FeedForward(width)
        self.feed_forward_scale = nn.Identity() if layer_scale is None else LayerScale(width, layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(
        self,
        tokens: Float[Tensor, "batch tokens width"],
        rotation: Rotation | None = None,
        read: Bool[Tensor, "batch tokens"] | None = None,
    ) -> Float[Tensor, "batch tokens width"]:
        """Let the tokens look at each other, then think each for itself.

        With ``read``, only these tokens do; the others are seen by them and stay as they are.
        """
        seen = self.attention(self.attention_norm(tokens), rotation, read)
        tokens = tokens + self._addition(self.attention_scale(seen), read)
        thinking = tokens if read is None else tokens[read]
        thought = self.feed_forward(self.feed_forward_norm(thinking))
        return tokens + self._addition(self.feed_forward_scale(thought), read)

    def _addition(self, branch: Tensor, read: Tensor | None) -> Float[Tensor, "batch tokens width"]:
        """What a branch adds to every token: nothing to those that are not read."""
        if read is not None:
            branch = branch.new_zeros(*read.shape, branch.shape[-1]).index_put((read,), branch)
        added: Tensor = self.drop_path(branch)
        return added
