"""The transformer block: multi-head self-attention, feed-forward network, and the positions of patches.

Attention uses the fastest exact kernel for the device.

Positions are either a learned table, resampled to the grid of the image, or rotary. Weights of the same family use
three different rules of resampling, which differ by up to half the norm of the position at small grids. So the rule
belongs to the weights:

``dinov2``
    DINOv2 without registers: bicubic, the grid enlarged by 0.1 patch when computing the scale, no antialias.
``dinov2_registers``
    DINOv2 with registers and timm: bicubic with antialias. Our own models use it.
``plain``
    bicubic to the exact size without antialias, as the ``transformers`` port of DINOv2 without registers does.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

Grid = tuple[int, int]
PositionInterpolation = Literal["dinov2", "dinov2_registers", "plain"]

_DINOV2_OFFSET = 0.1
_SHORT_SEQUENCE = 256


def interpolate_positions(
    table: Float[Tensor, "1 positions width"], table_grid: Grid, grid: Grid, rule: PositionInterpolation
) -> Float[Tensor, "1 patches width"]:
    """Resample a row-major table of patch positions from ``table_grid`` to ``grid``, in float32.

    Source: ``interpolate_pos_encoding`` of DINOv2 (Oquab et al., 2023) and its register variant (Darcet et al., 2023).
    """
    if grid == table_grid:
        return table
    width = table.shape[2]
    picture = table.float().reshape(1, *table_grid, width).permute(0, 3, 1, 2)
    if rule == "dinov2":
        scale = [(new + _DINOV2_OFFSET) / old for new, old in zip(grid, table_grid, strict=True)]
        resampled = nn.functional.interpolate(picture, scale_factor=scale, mode="bicubic")
    else:
        resampled = nn.functional.interpolate(
            picture, size=grid, mode="bicubic", antialias=rule == "dinov2_registers", align_corners=False
        )
    return resampled.permute(0, 2, 3, 1).reshape(1, grid[0] * grid[1], width).to(table.dtype)


class PositionTable(nn.Module):
    """One learned position for the class token and one for each patch of a square grid.

    Args:
        width: length of a token.
        side: patches per side of the grid on which the table is learned.
        rule: how the table is resampled to other grids.
    """

    def __init__(self, width: int, side: int, rule: PositionInterpolation) -> None:
        super().__init__()
        self.side = side
        self.rule = rule
        self.class_position = nn.Parameter(torch.zeros(1, 1, width))
        self.patch_positions = nn.Parameter(torch.zeros(1, side * side, width))

    def forward(self, grid: Grid) -> Float[Tensor, "1 patches width"]:
        """The positions of the patches of ``grid``, row by row."""
        return interpolate_positions(self.patch_positions, (self.side, self.side), grid, self.rule)


class Rotation(NamedTuple):
    """Cosines and sines of the angles by which the queries and keys of each patch are rotated."""

    cosines: Float[Tensor, "patches depth"]
    sines: Float[Tensor, "patches depth"]


class RotaryPosition(nn.Module):
    """Rotary positions on the plane, as in DINOv3: half of each head turns with y, half with x.

    Coordinates are patch centres in [-1, 1] over the image, so the angles do not depend on the number of patches.

    Args:
        head_width: length of a query; divisible by 4.
        base: ratio between the fastest and the slowest frequency, 100 in DINOv3.

    Source: Su et al., "RoFormer", 2021; axial form of Siméoni et al., "DINOv3", 2025.
    """

    def __init__(self, head_width: int, base: float) -> None:
        super().__init__()
        if head_width % 4:
            raise ValueError(f"rotary positions need a head width divisible by 4, got {head_width}; change the heads")
        self.head_width = head_width
        self.base = base

    def frequencies(self, device: torch.device) -> Float[Tensor, "quarter_head"]:
        """Rotations of each pair per unit of coordinate, from fast to slow."""
        exponents = torch.arange(self.head_width // 4, dtype=torch.float32, device=device) * (4 / self.head_width)
        frequencies: Tensor = self.base**-exponents
        return frequencies

    def forward(self, grid: Grid, device: torch.device) -> Rotation:
        """The rotation of every patch of ``grid``, row by row, in float32."""
        rows, columns = (
            2 * (torch.arange(count, dtype=torch.float32, device=device) + 0.5) / count - 1 for count in grid
        )
        centres_yx = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).reshape(-1, 2)
        turns = (centres_yx[:, :, None] * self.frequencies(device)).flatten(1)
        angles = (2 * math.pi * turns).repeat(1, 2)  # the first and the second half of a head form the pairs
        return Rotation(angles.cos(), angles.sin())


def rotate_patches(
    vectors: Float[Tensor, "batch heads tokens depth"], rotation: Rotation
) -> Float[Tensor, "batch heads tokens depth"]:
    """Rotate the last tokens, the patches; class token and registers have no position and stay unchanged."""
    first_patch = vectors.shape[2] - rotation.cosines.shape[0]
    unplaced, placed = vectors[:, :, :first_patch], vectors[:, :, first_patch:]
    first, second = placed.chunk(2, dim=-1)
    quarter_turned = torch.cat((-second, first), dim=-1)
    cosines, sines = rotation.cosines.to(vectors.dtype), rotation.sines.to(vectors.dtype)
    return torch.cat((unplaced, placed * cosines + quarter_turned * sines), dim=2)


def attend(
    queries: Float[Tensor, "batch heads tokens depth"],
    keys: Float[Tensor, "batch heads tokens depth"],
    values: Float[Tensor, "batch heads tokens depth"],
) -> Float[Tensor, "batch heads tokens depth"]:
    """Scaled dot-product attention of every token to every token.

    The fused kernel is fastest except in bf16 on a CPU. There its backward pass is two to seven times slower than two
    matrix products and a softmax, and its forward pass up to 1.6 times slower for short sequences. Both compute the
    same formula; the plain one needs memory for all pairs of tokens.

    Source: Vaswani et al., "Attention is all you need", 2017, equation 1.
    """
    if queries.device.type == "cpu" and queries.dtype == torch.bfloat16 and _plain_is_faster(queries, keys, values):
        scale = float(queries.shape[-1]) ** -0.5
        weights = torch.softmax((queries * scale) @ keys.transpose(-2, -1), dim=-1)
        return torch.matmul(weights, values)
    return nn.functional.scaled_dot_product_attention(queries, keys, values)


def _plain_is_faster(queries: Tensor, keys: Tensor, values: Tensor) -> bool:
    """For bf16 on a CPU: whenever gradients are needed, and for short sequences."""
    trains = torch.is_grad_enabled() and any(part.requires_grad for part in (queries, keys, values))
    return trains or queries.shape[2] <= _SHORT_SEQUENCE


class SelfAttention(nn.Module):
    """Multi-head self-attention.

    Args:
        width: length of a token.
        heads: number of heads; divides ``width``.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(
        self,
        tokens: Float[Tensor, "batch tokens width"],
        rotation: Rotation | None = None,
        token_subset: Bool[Tensor, "batch tokens"] | None = None,
    ) -> Float[Tensor, "*tokens width"]:
        """Attend; ``rotation`` rotates the queries and keys of the patches by their positions.

        Returns:
            All tokens; with ``token_subset`` only these, as rows, ``(tokens of the subset, width)``.
        """
        batch, count, width = tokens.shape
        heads_apart = self.qkv(tokens).reshape(batch, count, 3, self.heads, width // self.heads)
        queries, keys, values = heads_apart.permute(2, 0, 3, 1, 4).unbind(0)
        if rotation is not None:
            queries, keys = rotate_patches(queries, rotation), rotate_patches(keys, rotation)
        mixed = attend(queries, keys, values).transpose(1, 2).reshape(batch, count, width)
        projected: Tensor = self.projection(mixed if token_subset is None else mixed[token_subset])
        return projected


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
    """Stochastic depth: in training, drops a residual branch for random images and scales up the others.

    Source: Huang et al., "Deep networks with stochastic depth", 2016.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """Set the branch to zero for random images; the expectation stays the same."""
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
        token_subset: Bool[Tensor, "batch tokens"] | None = None,
    ) -> Float[Tensor, "batch tokens width"]:
        """Attention among the tokens, then the feed-forward network on each; both are added to the tokens.

        With ``token_subset``, only these tokens are updated. They still attend to all tokens.
        """
        attended = self.attention(self.attention_norm(tokens), rotation, token_subset)
        tokens = tokens + self._addition(self.attention_scale(attended), token_subset)
        updated = tokens if token_subset is None else tokens[token_subset]
        transformed = self.feed_forward(self.feed_forward_norm(updated))
        return tokens + self._addition(self.feed_forward_scale(transformed), token_subset)

    def _addition(self, branch: Tensor, token_subset: Tensor | None) -> Float[Tensor, "batch tokens width"]:
        """What a residual branch adds to every token: zero outside ``token_subset``."""
        if token_subset is not None:
            branch = branch.new_zeros(*token_subset.shape, branch.shape[-1]).index_put((token_subset,), branch)
        added: Tensor = self.drop_path(branch)
        return added
