"""From an image and prompt tokens to masks with a predicted IoU.

Patch tokens know the structures but not their exact edges; light convolutions on the image at half and quarter
resolution see edges but not whose they are. The image stem makes these fine features once per image, without a strided
convolution.

In the two-way transformer, prompts attend to the image and the image attends back to the prompts (Kirillov et al.,
"Segment anything", 2023, figure 14). Here each step has its normalisation before it, which trains more stably at small
size. Attention ignores padding.

Sources: Kirillov et al., "Segment anything", 2023: two-way transformer, hypernetwork and IoU head; the high-resolution
skip follows Ke et al., "Segment anything in high quality", 2023.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class HalveResolution(nn.Module):
    """Each two by two cell becomes one pixel with four times the channels; a convolution then mixes them.

    A strided convolution computes the same, but its backward pass in bf16 on a CPU is ten times slower. The cells tile
    the image, so that output pixel ``i`` is centred at input pixel ``2 i + 0.5``.

    Args:
        in_channels: channels before.
        out_channels: channels after.
        kernel: size of the convolution in output pixels; odd.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4 * in_channels, out_channels, kernel, padding=kernel // 2)

    def forward(
        self, features: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch out_channels half_height half_width"]:
        """Features at half the height and width, both of which are even."""
        mixed: Tensor = self.mix(nn.functional.pixel_unshuffle(features, 2))
        return mixed


class FineFeatures(NamedTuple):
    """Features of the image at two resolutions; pixel ``i`` of the half map lies at input pixel ``2 i + 0.5``."""

    half: Float[Tensor, "batch half_channels half_height half_width"]
    quarter: Float[Tensor, "batch quarter_channels quarter_height quarter_width"]


class ImageStem(nn.Module):
    """Two halvings of the resolution, each followed by a normalisation and a GELU.

    The channels are few because convolutions at these resolutions are what a decoder spends its time on.

    Args:
        in_channels: channels of the image.
        half_channels: channels at half resolution.
        quarter_channels: channels at quarter resolution.
    """

    def __init__(self, in_channels: int, half_channels: int, quarter_channels: int) -> None:
        super().__init__()
        self.to_half = HalveResolution(in_channels, half_channels, kernel=3)
        self.half_norm = nn.GroupNorm(1, half_channels)
        self.to_quarter = HalveResolution(half_channels, quarter_channels)
        self.quarter_norm = nn.GroupNorm(1, quarter_channels)

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> FineFeatures:
        """Features at half and quarter resolution.

        Raises:
            ValueError: height or width is not a multiple of 4.
        """
        height, width = images.shape[2:]
        if height % 4 or width % 4:
            raise ValueError(f"an image of {height} x {width} pixels has no quarter resolution; use multiples of 4")
        half = nn.functional.gelu(self.half_norm(self.to_half(images)))
        quarter = nn.functional.gelu(self.quarter_norm(self.to_quarter(half)))
        return FineFeatures(half, quarter)


def attend_masked(
    queries: Float[Tensor, "batch heads queries depth"],
    keys: Float[Tensor, "batch heads keys depth"],
    values: Float[Tensor, "batch heads keys depth"],
    key_mask: Bool[Tensor, "batch keys"] | None,
) -> Float[Tensor, "batch heads queries depth"]:
    """Scaled dot-product attention to the keys where ``key_mask`` is True.

    Written as two matrix products and a softmax, because the decoders have few tokens and the backward pass of the
    fused kernel is slow in bf16 on a CPU. If all keys of a row are masked, they get equal weights, which avoids NaN.

    Source: Vaswani et al., "Attention is all you need", 2017, equation 1.
    """
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-2, -1)
    if key_mask is not None:
        scores = scores.masked_fill(~key_mask[:, None, None, :], torch.finfo(scores.dtype).min)
    return torch.matmul(torch.softmax(scores, dim=-1).to(values.dtype), values)


class MaskedAttention(nn.Module):
    """Multi-head attention from one set of tokens to another.

    Args:
        width: length of the tokens, in and out.
        heads: number of heads; divides ``inner_width``.
        inner_width: total length of the queries over all heads; ``None`` is ``width``.
    """

    def __init__(self, width: int, heads: int, inner_width: int | None = None) -> None:
        super().__init__()
        inner_width = inner_width or width
        self.heads = heads
        self.query = nn.Linear(width, inner_width)
        self.key = nn.Linear(width, inner_width)
        self.value = nn.Linear(width, inner_width)
        self.projection = nn.Linear(inner_width, width)

    def forward(
        self,
        queries: Float[Tensor, "batch queries width"],
        keys: Float[Tensor, "batch keys width"],
        values: Float[Tensor, "batch keys width"],
        key_mask: Bool[Tensor, "batch keys"] | None = None,
    ) -> Float[Tensor, "batch queries width"]:
        """Scaled dot-product attention in several heads, then a linear projection."""
        mixed = attend_masked(
            self._heads_apart(self.query(queries)),
            self._heads_apart(self.key(keys)),
            self._heads_apart(self.value(values)),
            key_mask,
        )
        projected: Tensor = self.projection(mixed.transpose(1, 2).flatten(2))
        return projected

    def _heads_apart(self, tokens: Tensor) -> Float[Tensor, "batch heads tokens depth"]:
        batch, count, width = tokens.shape
        return tokens.reshape(batch, count, self.heads, width // self.heads).transpose(1, 2)


class TwoWayBlock(nn.Module):
    """Self-attention of the prompts, prompts to image, feed-forward, image to prompts; each with a residual connection.

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
        """Prompt tokens and image tokens after the block."""
        normed = self.self_norm(prompts)
        prompts = prompts + self.self_attention(normed, normed, normed, prompt_mask)
        seen = self.image_norm(image)
        prompts = prompts + self.to_image(self.to_image_norm(prompts), seen + position, seen)
        prompts = prompts + self.feed_forward(self.feed_forward_norm(prompts))
        normed = self.prompt_norm(prompts)
        image = image + self.to_prompts(seen + position, normed, normed, prompt_mask)
        return prompts, image


class TwoWayTransformer(nn.Module):
    """A stack of two-way blocks, then a last attention from the prompts to the image.

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
        """Attention between prompts and image in both directions.

        Args:
            prompts: prompt tokens; they include the position of the prompt, if it has one.
            prompt_mask: False for padding tokens, which nothing attends to.
            image: patch tokens.
            position: position code of the patches, the same code as for the prompts.

        Returns:
            Both, normalised.
        """
        for block in self.blocks:
            prompts, image = block(prompts, prompt_mask, image, position)
        image = self.image_norm(image)
        prompts = prompts + self.last_look(self.last_norm(prompts), image + position, image)
        return self.prompt_norm(prompts), image


class PromptTokens(NamedTuple):
    """Prompts decoded in one pass: each name in ``names`` asks for a mask, ``points`` belong to all of them."""

    names: Float[Tensor, "groups masks width"]
    names_mask: Bool[Tensor, "groups masks"]
    points: Float[Tensor, "groups points width"]
    points_mask: Bool[Tensor, "groups points"]


class DoubleResolution(nn.Module):
    """Doubles the resolution of a map in channels-last layout: each cell becomes two by two, by one matrix product."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.expand = nn.Linear(in_channels, 4 * out_channels)

    def forward(self, cells: Float[Tensor, "maps height width channels"]) -> Float[Tensor, "maps height2 width2 out"]:
        """The map at twice the height and width."""
        maps, height, width, _ = cells.shape
        quarters = self.expand(cells).reshape(maps, height, width, 2, 2, -1)
        doubled: Tensor = quarters.permute(0, 1, 3, 2, 4, 5).reshape(maps, 2 * height, 2 * width, -1)
        return doubled


class FineUpscaling(nn.Module):
    """Upscales patch tokens to a feature map at half resolution, sharpened by image features.

    Args:
        width: length of a patch token.
        quarter_channels: channels at quarter resolution, in the image features and here.
        half_channels: channels at half resolution, in the image features and here.
    """

    def __init__(self, width: int, quarter_channels: int, half_channels: int) -> None:
        super().__init__()
        self.to_eighth = DoubleResolution(width, 2 * quarter_channels)
        self.eighth_norm = nn.LayerNorm(2 * quarter_channels)
        self.to_quarter = DoubleResolution(2 * quarter_channels, quarter_channels)
        self.quarter_norm = nn.GroupNorm(1, quarter_channels)
        self.quarter_blend = nn.Conv2d(quarter_channels, quarter_channels, 3, padding=1)
        self.to_half = nn.Conv2d(quarter_channels, 4 * half_channels, 1)
        self.half_norm = nn.GroupNorm(1, half_channels)
        self.half_blend = nn.Conv2d(half_channels, half_channels, 3, padding=1)

    def forward(
        self, patches: Float[Tensor, "groups patches width"], grid: tuple[int, int], fine: FineFeatures
    ) -> Float[Tensor, "groups half_channels half_height half_width"]:
        """Features at half resolution; several groups may belong to one image of ``fine``."""
        gelu = nn.functional.gelu
        cells = gelu(self.eighth_norm(self.to_eighth(patches.reshape(patches.shape[0], *grid, -1))))
        quarter = self.to_quarter(cells).permute(0, 3, 1, 2)
        if quarter.shape[2:] != fine.quarter.shape[2:]:  # patches of 14 pixels are not a power of two
            quarter = nn.functional.interpolate(quarter, size=fine.quarter.shape[2:], mode="bilinear")
        quarter = gelu(self.quarter_norm(_add_per_image(quarter, fine.quarter)))
        quarter = quarter + gelu(self.quarter_blend(quarter))
        half = nn.functional.pixel_shuffle(self.to_half(quarter), 2)
        half = gelu(self.half_norm(_add_per_image(half, fine.half)))
        blended: Tensor = half + gelu(self.half_blend(half))
        return blended


def _add_per_image(groups: Tensor, images: Tensor) -> Tensor:
    """Add the map of an image to every group that belongs to it."""
    by_image = groups.reshape(images.shape[0], -1, *images.shape[1:])
    return (by_image + images[:, None]).flatten(0, 1)


class MaskDecoder(nn.Module):
    """Runs the two-way transformer, then reads out one mask and one predicted IoU per name.

    Args:
        transformer: the exchange.
        upscaling: from patch tokens to fine features.
        width: length of the tokens.
        channels: channels of the fine features.
    """

    def __init__(self, transformer: TwoWayTransformer, upscaling: FineUpscaling, width: int, channels: int) -> None:
        super().__init__()
        self.transformer = transformer
        self.upscaling = upscaling
        self.mask_query = nn.Parameter(torch.zeros(width))
        self.iou_query = nn.Parameter(torch.zeros(width))
        # the mask of a prompt is a linear read-out of the fine features; this network writes its weights and bias
        self.readout = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, channels + 1))
        self.iou_head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))
        nn.init.normal_(self.mask_query, std=0.5)
        nn.init.normal_(self.iou_query, std=0.5)

    def forward(
        self,
        prompts: PromptTokens,
        image: Float[Tensor, "groups patches width"],
        position: Float[Tensor, "patches width"],
        grid: tuple[int, int],
        fine: FineFeatures,
    ) -> tuple[Float[Tensor, "groups masks half_height half_width"], Float[Tensor, "groups masks"]]:
        """Mask logits at half resolution and predicted IoU (0 to 1) for every name of every group.

        Args:
            prompts: what is asked; padding is ignored.
            image: patch tokens of the image of each group.
            position: where the patches are.
            grid: patches per column and row.
            fine: features of the images; as many images as divide the groups, in the same order.
        """
        masks = prompts.names.shape[1]
        queries = torch.cat((prompts.names + self.mask_query, prompts.names + self.iou_query, prompts.points), dim=1)
        real = torch.cat((prompts.names_mask, prompts.names_mask, prompts.points_mask), dim=1)
        answers, patches = self.transformer(queries, real, image, position)
        features = self.upscaling(patches, grid, fine)
        readout = self.readout(answers[:, :masks])
        weights, bias = readout[..., :-1], readout[..., -1:]
        logits = (weights @ features.flatten(2) + bias).reshape(*weights.shape[:2], *features.shape[2:])
        iou = torch.sigmoid(self.iou_head(answers[:, masks : 2 * masks])[..., 0].float())
        return logits, iou
