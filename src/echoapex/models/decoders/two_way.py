"""The two-way transformer: prompts look at the image, and the image looks back at the prompts.

Source: Kirillov et al., "Segment anything", 2023, figure 14. Here with normalisation before each step, which trains
more steadily at small size.
"""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from echoapex.models.decoders.masked_attention import MaskedAttention


class TwoWayBlock(nn.Module):
    """Prompt tokens among themselves, prompt to image, prompt alone, image to prompt; each added to what was there.

    Args:
        width: length of all tokens.
        heads: number of attention heads.
        hidden: inner width of the feed-forward network.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(width)
        self.self_attention = MaskedAttention(width, heads)
        self.to_image_norm = nn.LayerNorm(width)
        self.image_norm = nn.LayerNorm(width)
        self.to_image = MaskedAttention(width, heads, width // 2)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.prompt_norm = nn.LayerNorm(width)
        self.to_prompts = MaskedAttention(width, heads, width // 2)

    def forward(
        self,
        prompts: Float[Tensor, "batch prompts width"],
        prompt_mask: Bool[Tensor, "batch prompts"],
        image: Float[Tensor, "batch patches width"],
        position: Float[Tensor, "patches width"],
    ) -> tuple[Float[Tensor, "batch prompts width"], Float[Tensor, "batch patches width"]]:
        """Prompt tokens and image tokens after one exchange."""
        normed = self.self_norm(prompts)
        prompts = prompts + self.self_attention(normed, normed, normed, prompt_mask)
        seen = self.image_norm(image)
        prompts = prompts + self.to_image(self.to_image_norm(prompts), seen + position, seen)
        prompts = prompts + self.feed_forward(self.feed_forward_norm(prompts))
        normed = self.prompt_norm(prompts)
        image = image + self.to_prompts(seen + position, normed, normed, prompt_mask)
        return prompts, image


class TwoWayTransformer(nn.Module):
    """A stack of two-way blocks and a last look of the prompts at the image.

    Args:
        width: length of all tokens.
        depth: number of blocks.
        heads: number of attention heads.
        hidden: inner width of the feed-forward networks.
    """

    def __init__(self, width: int, depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TwoWayBlock(width, heads, hidden) for _ in range(depth))
        self.last_norm = nn.LayerNorm(width)
        self.image_norm = nn.LayerNorm(width)
        self.last_look = MaskedAttention(width, heads, width // 2)
        self.prompt_norm = nn.LayerNorm(width)

    def forward(
        self,
        prompts: Float[Tensor, "batch prompts width"],
        prompt_mask: Bool[Tensor, "batch prompts"],
        image: Float[Tensor, "batch patches width"],
        position: Float[Tensor, "patches width"],
    ) -> tuple[Float[Tensor, "batch prompts width"], Float[Tensor, "batch patches width"]]:
        """Exchange between prompts and image.

        Args:
            prompts: prompt tokens; a place, where a prompt has one, is already in them.
            prompt_mask: False for padding tokens, which nothing attends to.
            image: patch tokens.
            position: where the patches are, in the code of the prompts' places.

        Returns:
            Both, normalised.
        """
        for block in self.blocks:
            prompts, image = block(prompts, prompt_mask, image, position)
        image = self.image_norm(image)
        prompts = prompts + self.last_look(self.last_norm(prompts), image + position, image)
        return self.prompt_norm(prompts), image
