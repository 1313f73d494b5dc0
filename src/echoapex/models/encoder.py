"""The encoder: a vision transformer with registers, for grey images of any size.

Its output for an image (``Tokens``) is a class token, registers, and one token per patch on a grid. Of a clip every
frame is encoded once (``EncodedClip``), for all tasks that read the same encoder.

Sources: Dosovitskiy et al., "An image is worth 16x16 words", 2021; Oquab et al., "DINOv2", 2023; Darcet et al.,
"Vision transformers need registers", 2023; Siméoni et al., "DINOv3", 2025 (rotary positions).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from pydantic import Field, model_validator
from torch import Tensor, nn

from echoapex.config import Config
from echoapex.models.attention import Block, Grid, PositionInterpolation, PositionTable, RotaryPosition, Rotation

EncoderSize = Literal["tiny", "small", "base", "large"]


@dataclass(frozen=True, eq=False)
class Tokens:
    """The output of the encoder for a batch of images.

    Attributes:
        class_token: one token for the whole image, ``(batch, width)``.
        registers: scratch tokens without a place in the image, ``(batch, registers, width)``; may be empty.
        patches: one token per patch in row-major order, ``(batch, patches, width)``.
        grid: patches per column and row, ``(height, width)``.

    Raises:
        ValueError: the number of patches is not grid height times grid width.
    """

    class_token: Float[Tensor, "batch width"]
    registers: Float[Tensor, "batch registers width"]
    patches: Float[Tensor, "batch patches width"]
    grid: tuple[int, int]

    def __post_init__(self) -> None:
        height, width = self.grid
        if self.patches.shape[1] != height * width:
            raise ValueError(f"{self.patches.shape[1]} patch tokens do not fill a grid of {height} x {width}")

    def each(self, change: Callable[[Tensor], Tensor]) -> Tokens:
        """The same tokens with a change of each of the three tensors, such as another precision or fewer images."""
        return Tokens(change(self.class_token), change(self.registers), change(self.patches), self.grid)

    def as_map(self) -> Float[Tensor, "batch width grid_height grid_width"]:
        """The patch tokens as an image of features."""
        batch, _, width = self.patches.shape
        return self.patches.transpose(1, 2).reshape(batch, width, *self.grid)


class Dimensions(NamedTuple):
    """Width, depth and heads of an encoder size."""

    width: int
    depth: int
    heads: int


DIMENSIONS: dict[EncoderSize, Dimensions] = {
    "tiny": Dimensions(width=192, depth=12, heads=3),
    "small": Dimensions(width=384, depth=12, heads=6),
    "base": Dimensions(width=768, depth=12, heads=12),
    "large": Dimensions(width=1024, depth=24, heads=16),
}
"""The four sizes of the literature: ViT-Ti, ViT-S, ViT-B and ViT-L."""


class EncoderConfig(Config):
    """The architecture of an encoder, as stored in a bundle's card.

    ``image_size`` is the side in pixels for which the position table is learned; any other size is interpolated.
    ``layer_scale`` starts at 0.1, which CaiT advises up to 18 blocks; DINOv2 uses 1e-5; ``None`` is a plain ViT.
    """

    size: EncoderSize = "tiny"
    patch_size: Literal[14, 16] = 16
    in_channels: int = Field(default=1, ge=1)
    registers: int = Field(default=4, ge=0)
    layer_scale: float | None = Field(default=0.1, gt=0)
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    image_size: int = Field(default=224, ge=14)
    position: Literal["table", "rotary"] = "table"
    position_interpolation: PositionInterpolation = "dinov2_registers"
    rotary_base: float = Field(default=100.0, gt=1)
    norm_epsilon: float = Field(default=1e-6, gt=0)

    @model_validator(mode="after")
    def _whole_patches(self) -> EncoderConfig:
        if self.image_size % self.patch_size:
            nearest = max(1, round(self.image_size / self.patch_size)) * self.patch_size
            raise ValueError(
                f"image_size {self.image_size} is not a whole number of patches of {self.patch_size}; "
                f"use {nearest}, for example"
            )
        return self

    @property
    def dimensions(self) -> Dimensions:
        """Width, depth and heads of this size."""
        return DIMENSIONS[self.size]

    @property
    def width(self) -> int:
        """Length of a token."""
        return self.dimensions.width

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return self.dimensions.depth


class VisionTransformer(nn.Module):
    """Turns images into a class token, registers and patch tokens.

    Args:
        config: the architecture.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        width, depth, heads = config.dimensions
        self.patch_embedding = nn.Conv2d(config.in_channels, width, config.patch_size, stride=config.patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position_table: PositionTable | None = None
        self.rotary_position: RotaryPosition | None = None
        if config.position == "table":
            side = config.image_size // config.patch_size
            self.position_table = PositionTable(width, side, config.position_interpolation)
        else:
            self.rotary_position = RotaryPosition(width // heads, config.rotary_base)
        # stochastic depth grows linearly: early blocks, on which all others build, are almost never dropped
        drop_rates = [config.drop_path * index / (depth - 1) for index in range(depth)]
        self.blocks = nn.ModuleList(
            Block(width, heads, config.layer_scale, rate, config.norm_epsilon) for rate in drop_rates
        )
        self.norm = nn.LayerNorm(width, eps=config.norm_epsilon)
        self._initialise()

    def forward(
        self,
        images: Float[Tensor, "batch channels height width"],
        patch_mask: Bool[Tensor, "batch patches"] | None = None,
        token_subset: Bool[Tensor, "batch patches"] | None = None,
    ) -> Tokens:
        """Encode images whose height and width are whole numbers of patches.

        Args:
            images: normalised as the bundle's card says.
            patch_mask: patches, in row-major order, that are replaced by the mask token (iBOT).
            token_subset: the patches whose output tokens are needed besides the class token. The last block computes
                only these; the other patch tokens and the registers of the result must not be used. ``None``: all.

        Returns:
            The tokens after the last block and the final norm.

        Raises:
            ValueError: the images or the mask have a shape that this encoder cannot take.
        """
        tokens, grid, rotation = self._embed(images, patch_mask)
        *earlier, last = self.blocks
        for block in earlier:
            tokens = block(tokens, rotation)
        tokens = last(tokens, rotation, None if token_subset is None else self._with_class_token(token_subset))
        return self._split(self.norm(tokens), grid)

    def forward_blocks(
        self, images: Float[Tensor, "batch channels height width"], blocks: Sequence[int]
    ) -> list[Tokens]:
        """Encode images once and return the tokens, after the final norm, as they leave each of ``blocks``.

        Args:
            images: as for ``forward``.
            blocks: indices from 0 to depth - 1, in any order; nothing after the largest is computed.

        Raises:
            ValueError: an index is not that of a block, or the images have a shape that this encoder cannot take.
        """
        depth = len(self.blocks)
        if not blocks or not all(0 <= index < depth for index in blocks):
            raise ValueError(f"blocks {list(blocks)} must be indices from 0 to {depth - 1}, at least one")
        tokens, grid, rotation = self._embed(images, None)
        outputs: dict[int, Tokens] = {}
        for index in range(max(blocks) + 1):
            tokens = self.blocks[index](tokens, rotation)
            if index in blocks:
                outputs[index] = self._split(self.norm(tokens), grid)
        return [outputs[index] for index in blocks]

    def grid_of(self, height: int, width: int) -> Grid:
        """Patches per column and row of an image of ``height`` x ``width`` pixels.

        Raises:
            ValueError: a side is not a whole number of patches.
        """
        patch = self.config.patch_size
        if height < patch or width < patch or height % patch or width % patch:
            raise ValueError(
                f"an image of {height} x {width} pixels is not a whole number of patches of {patch}; "
                f"resize or pad it to multiples of {patch}"
            )
        return height // patch, width // patch

    def _embed(
        self, images: Tensor, patch_mask: Tensor | None
    ) -> tuple[Float[Tensor, "batch tokens width"], Grid, Rotation | None]:
        """Images to the sequence class token, registers, patches that enters the first block."""
        if images.ndim != 4 or images.shape[1] != self.config.in_channels:
            raise ValueError(
                f"images must be (batch, {self.config.in_channels}, height, width), got {tuple(images.shape)}"
            )
        batch = images.shape[0]
        grid = self.grid_of(*images.shape[2:])
        patches = self.patch_embedding(images).flatten(2).transpose(1, 2)
        if patch_mask is not None:
            if patch_mask.shape != patches.shape[:2]:
                raise ValueError(
                    f"the patch mask has shape {tuple(patch_mask.shape)}, the images have {tuple(patches.shape[:2])}"
                )
            patches = torch.where(patch_mask[..., None], self.mask_token.to(patches.dtype), patches)
        class_token: Tensor = self.class_token
        rotation: Rotation | None = None
        if self.position_table is not None:
            class_token = class_token + self.position_table.class_position
            patches = patches + self.position_table(grid)
        elif self.rotary_position is not None:
            rotation = self.rotary_position(grid, images.device)
        unplaced = torch.cat((class_token, self.register_tokens), dim=1).expand(batch, -1, -1)
        return torch.cat((unplaced.to(patches.dtype), patches), dim=1), grid, rotation

    def _with_class_token(self, patches: Bool[Tensor, "batch patches"]) -> Bool[Tensor, "batch tokens"]:
        """A subset of the patches as a subset of all tokens: the class token is in it, the registers are not."""
        class_token = patches.new_ones(len(patches), 1)
        return torch.cat((class_token, patches.new_zeros(len(patches), self.config.registers), patches), dim=1)

    def _split(self, tokens: Float[Tensor, "batch tokens width"], grid: Grid) -> Tokens:
        """The sequence to its three parts."""
        first_patch = 1 + self.config.registers
        return Tokens(tokens[:, 0], tokens[:, 1:first_patch], tokens[:, first_patch:], grid)

    def _initialise(self) -> None:
        """Truncated normals as in DINOv2; the patch embedding keeps the variance of the pixels."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        fan_in = self.patch_embedding.weight[0].numel()
        nn.init.trunc_normal_(self.patch_embedding.weight, std=fan_in**-0.5)
        if self.patch_embedding.bias is not None:
            nn.init.zeros_(self.patch_embedding.bias)
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.register_tokens, std=0.02)
        if self.position_table is not None:
            nn.init.trunc_normal_(self.position_table.class_position, std=0.02)
            nn.init.trunc_normal_(self.position_table.patch_positions, std=0.02)


def standardise(pixels: UInt8[Tensor, "*batch size size"]) -> Float[Tensor, "*batch 1 size size"]:
    """Grey levels to zero mean and unit variance per frame, so that gain and brightness have no influence.

    A frame without contrast (all black) becomes zero.
    """
    grey = pixels.float()
    mean = grey.mean(dim=(-2, -1), keepdim=True)
    deviation = grey.std(dim=(-2, -1), keepdim=True, unbiased=False)
    return ((grey - mean) / deviation.clamp_min(1.0)).unsqueeze(-3)


@dataclass(frozen=True, eq=False)
class EncodedClip:
    """Tokens of every frame at several encoder depths, with the pixels that were encoded.

    Attributes:
        pixels: prepared grey frames in model pixels.
        tokens: one entry per depth, each with the frames as its batch; stored in half precision to bound memory.
        times_s: frame times in seconds.
    """

    pixels: UInt8[Tensor, "frames size size"]
    tokens: tuple[Tokens, ...]
    times_s: Float[Tensor, "frames"]

    @property
    def frame_count(self) -> int:
        """Number of frames."""
        return self.pixels.shape[0]

    def select(self, frames: Sequence[int]) -> tuple[Float[Tensor, "frames 1 size size"], list[Tokens]]:
        """Standardised images and single-precision tokens of some frames."""
        rows = torch.as_tensor(list(frames), device=self.pixels.device)
        return standardise(self.pixels[rows]), [tokens.each(lambda part: part[rows].float()) for tokens in self.tokens]


def _joined(parts: Sequence[Tokens]) -> Tokens:
    return Tokens(
        torch.cat([part.class_token for part in parts]),
        torch.cat([part.registers for part in parts]),
        torch.cat([part.patches for part in parts]),
        parts[0].grid,
    )


@torch.inference_mode()
def encode_clip(
    encoder: VisionTransformer,
    blocks: Sequence[int],
    pixels: UInt8[np.ndarray, "frames size size"],
    times_s: Sequence[float],
    chunk: int = 32,
    autocast: AbstractContextManager[object] | None = None,
) -> EncodedClip:
    """Encode every frame once, ``chunk`` frames at a time; by default in single precision.

    ``autocast`` is that of a ``ChosenPrecision``; bf16 is faster and less exact.
    """
    device = next(encoder.parameters()).device
    images = torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
    with autocast or nullcontext():
        encoded = [encoder.forward_blocks(standardise(part), blocks) for part in torch.split(images, chunk)]
    tokens = tuple(_joined([part[depth].each(Tensor.half) for part in encoded]) for depth in range(len(blocks)))
    return EncodedClip(images, tokens, torch.as_tensor(list(times_s), dtype=torch.float32, device=device))


class AttachableAdapter(Protocol):
    """What learns in place of an encoder."""

    def attached(self, encoder: VisionTransformer) -> AbstractContextManager[VisionTransformer]:
        """Context manager: the encoder with the adapter attached."""


@dataclass(frozen=True, eq=False)
class TaskModel:
    """An encoder with the depths that one task reads, the side of its input in pixels, and the adapter it needs.

    ``digests``: sha256 of the weights of encoder, decoder and adapter, by bundle.
    """

    encoder: VisionTransformer
    blocks: tuple[int, ...]
    input_size: int
    adapter: AttachableAdapter | None = None
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def pass_key(self) -> tuple[int, int, int]:
        """Tasks with the same key share the tokens of one encoder pass."""
        return id(self.encoder), id(self.adapter), self.input_size

    def adapted(self) -> AbstractContextManager[VisionTransformer]:
        """Context manager: the encoder with the adapter of this task attached, if it has one."""
        return nullcontext(self.encoder) if self.adapter is None else self.adapter.attached(self.encoder)


def chunks(frames: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Consecutive runs of at most ``size`` frames."""
    for first in range(0, len(frames), size):
        yield frames[first : first + size]
