"""The promptable decoder: encode an image once, then decode any number of prompts to masks.

A prompt is a structure's name, points, a box, an earlier mask, or any of these together. There are two ways to decode
the prompts of an image:

* **Jointly** (``joint=True``), the automatic pass: prompts are structure names only. All names go through the two-way
  transformer together and the fine features are computed once, so that six structures cost hardly more than one. The
  names attend to each other, which helps neighbours to agree on their border; the mask of a structure therefore depends
  a little on which other names are prompted. Padding (``NO_STRUCTURE``) is masked out and changes nothing.
* **Independently** (``joint=False``), the interactive way: every prompt has its own pass, with the prompts folded into
  the batch. A mask depends on its own prompt only.

A prompt with a single name is the same computation in both. Points and earlier masks belong to one prompt and are
therefore refused in joint decoding.

A decoder may have a pyramid: a small U-shaped network that combines patch tokens and fine features at an eighth and a
quarter of the resolution, once per image and for all prompts, so that the pass of each prompt stays light.

Sources: Kirillov et al., "Segment anything", 2023; the structure name as a prompt follows the text prompts of the same
paper, with the six words of our vocabulary in place of free text. The U shape is that of Ronneberger et al., "U-Net",
2015; a plain vision transformer as its deep path follows Hatamizadeh et al., "UNETR", 2022.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from echoapex.config import Config
from echoapex.models.decoders.mask_decoder import (
    FineFeatures,
    FineUpscaling,
    HalveResolution,
    ImageStem,
    MaskDecoder,
    PromptTokens,
    TwoWayTransformer,
)
from echoapex.models.decoders.prompt_encoder import NO_STRUCTURE, PromptBatch, PromptEncoder, PromptError
from echoapex.models.encoder import Tokens


class ResidualConvolutions(nn.Module):
    """Two convolutions beside an identity; the second starts at zero, so that the block starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.mix = nn.Conv2d(channels, channels, 3, padding=1)
        self.out = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(cast(Tensor, self.out.bias))

    def forward(self, features: Float[Tensor, "images channels rows columns"]) -> Tensor:
        """Features of the same shape."""
        changed: Tensor = features + self.out(nn.functional.gelu(self.mix(self.norm(features))))
        return changed


class FinePyramid(nn.Module):
    """Adds to the fine features of an image what its patches say about them.

    It starts as the identity: a decoder that was trained without it can be given one and goes on where it stood.

    Args:
        dim: length of a patch token.
        half_channels: channels at half resolution.
        quarter_channels: channels at quarter resolution; an eighth has twice as many.
        blocks: residual blocks at each of the three stations (an eighth, and a quarter before and after it).
    """

    def __init__(self, dim: int, half_channels: int, quarter_channels: int, blocks: int) -> None:
        super().__init__()
        eighth_channels = 2 * quarter_channels
        self.before = _stack(quarter_channels, blocks)
        self.to_eighth = HalveResolution(quarter_channels, eighth_channels)
        self.from_patches = nn.Conv2d(dim, eighth_channels, 1)
        self.eighth = _stack(eighth_channels, blocks)
        self.to_quarter = nn.Conv2d(eighth_channels, 4 * quarter_channels, 1)
        self.after = _stack(quarter_channels, blocks)
        self.norm = nn.GroupNorm(1, quarter_channels)
        self.quarter_out = nn.Conv2d(quarter_channels, quarter_channels, 1)
        self.half_out = nn.Conv2d(quarter_channels, 4 * half_channels, 1)
        for last in (self.quarter_out, self.half_out):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(cast(Tensor, last.bias))

    def forward(
        self, fine: FineFeatures, patches: Float[Tensor, "images patches dim"], grid: tuple[int, int]
    ) -> FineFeatures:
        """The fine features of the same images, sharpened.

        Args:
            fine: of the image stem; the quarter resolution has even sides.
            patches: one token per patch, row by row.
            grid: patches per column and row.

        Raises:
            ValueError: a side of the image is not a multiple of 8.
        """
        height, width = fine.quarter.shape[2:]
        if height % 2 or width % 2:
            raise ValueError(f"an image of {4 * height} x {4 * width} pixels has no eighth; use multiples of 8")
        quarter: Tensor = self.before(fine.quarter)
        eighth = self.to_eighth(quarter)
        cells = self.from_patches(patches.transpose(1, 2).reshape(*patches.shape[::2], *grid))
        eighth = self.eighth(eighth + nn.functional.interpolate(cells, size=eighth.shape[2:], mode="bilinear"))
        quarter = self.after(quarter + nn.functional.pixel_shuffle(self.to_quarter(eighth), 2))
        quarter = nn.functional.gelu(self.norm(quarter))
        half = nn.functional.pixel_shuffle(self.half_out(quarter), 2)
        return FineFeatures(fine.half + half, fine.quarter + self.quarter_out(quarter))


def _stack(channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualConvolutions(channels) for _ in range(blocks)))


class PromptableConfig(Config):
    """Sizes of a promptable decoder.

    ``width`` is that of the encoder's tokens, ``depths`` how many blocks of it are read, ``dim`` the length of a token
    inside the decoder.
    """

    width: int = Field(default=192, ge=1)
    depths: int = Field(default=4, ge=1)
    dim: int = Field(default=128, ge=8, multiple_of=8)
    transformer_depth: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)
    hidden: int = Field(default=256, ge=1)
    half_channels: int = Field(default=16, ge=1)
    quarter_channels: int = Field(default=32, ge=1)
    image_channels: int = Field(default=1, ge=1)
    pyramid_blocks: int = Field(default=0, ge=0)
    """Residual blocks at each level of the pyramid between patches and pixels; 0: no pyramid."""


@dataclass(frozen=True, eq=False)
class ImageEmbedding:
    """Images, encoded once for any number of prompts.

    Attributes:
        patches: tokens from the encoder, row by row.
        grid: patches per column and row.
        fine: features of the image itself at half and quarter resolution.
        image_size: height and width of the images in pixels.
    """

    patches: Float[Tensor, "batch patches dim"]
    grid: tuple[int, int]
    fine: FineFeatures
    image_size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class MaskPrediction:
    """One mask per prompt.

    Attributes:
        logits: at half resolution; pixel ``i`` lies at input pixel ``2 i + 0.5``; positive is inside.
        iou: predicted IoU with the truth, 0 to 1.
    """

    logits: Float[Tensor, "batch prompts half_height half_width"]
    iou: Float[Tensor, "batch prompts"]


class ImageNeck(nn.Module):
    """Concatenates the tokens of several depths and projects them to one decoder token per patch.

    Args:
        width: length of the encoder's tokens.
        depths: how many depths there are.
        dim: length of the decoder's tokens.
    """

    def __init__(self, width: int, depths: int, dim: int) -> None:
        super().__init__()
        self.depths = depths
        self.merge = nn.Linear(depths * width, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Sequence[Tokens]) -> Float[Tensor, "batch patches dim"]:
        """One token per patch.

        Raises:
            ValueError: there are more or fewer depths than this decoder was built for.
        """
        if len(tokens) != self.depths:
            raise ValueError(f"got tokens of {len(tokens)} depths, this decoder reads {self.depths}; see its config")
        merged: Tensor = self.norm(self.merge(torch.cat([depth.patches for depth in tokens], dim=-1)))
        return merged


class PromptableDecoder(nn.Module):
    """Embeds images, encodes prompts, decodes masks; the module's docstring explains the two ways to decode.

    Args:
        neck: brings the encoder's tokens to the decoder.
        stem: looks at the image itself.
        pyramid: brings patches and stem together, if there is one.
        prompt_encoder: makes tokens of prompts.
        mask_decoder: makes masks of both.
        config: what the parts were built from; goes into the card of the weights.
    """

    def __init__(
        self,
        neck: ImageNeck,
        stem: ImageStem,
        pyramid: FinePyramid | None,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        config: PromptableConfig,
    ) -> None:
        super().__init__()
        self.config = config
        self.neck = neck
        self.stem = stem
        self.pyramid = pyramid
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder

    @classmethod
    def build(cls, config: PromptableConfig) -> PromptableDecoder:
        """A decoder with fresh weights."""
        half, quarter, blocks = config.half_channels, config.quarter_channels, config.pyramid_blocks
        transformer = TwoWayTransformer(config.dim, config.transformer_depth, config.heads, config.hidden)
        return cls(
            neck=ImageNeck(config.width, config.depths, config.dim),
            stem=ImageStem(config.image_channels, half, quarter),
            pyramid=FinePyramid(config.dim, half, quarter, blocks) if blocks else None,
            prompt_encoder=PromptEncoder(config.dim, mask_channels=16),
            mask_decoder=MaskDecoder(transformer, FineUpscaling(config.dim, quarter, half), config.dim, half),
            config=config,
        )

    def with_fresh_pyramid(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a decoder without a pyramid, completed by this one's, which starts as the identity.

        Weights that have a pyramid stay as they are.
        """
        if any(name.startswith("pyramid.") for name in state):
            return dict(state)
        return {name: tensor for name, tensor in self.state_dict().items() if name.startswith("pyramid.")} | dict(state)

    def embed(self, tokens: Sequence[Tokens], images: Float[Tensor, "batch channels height width"]) -> ImageEmbedding:
        """Embed images once.

        Args:
            tokens: of the encoder at several depths, shallow first.
            images: what the encoder was given.

        Raises:
            ValueError: depths or image size do not suit this decoder.
        """
        height, width = images.shape[2:]
        patches, grid, fine = self.neck(tokens), tokens[0].grid, self.stem(images)
        if self.pyramid is not None:
            fine = self.pyramid(fine, patches, grid)
        return ImageEmbedding(patches, grid, fine, (height, width))

    def forward(self, embedding: ImageEmbedding, prompts: PromptBatch, joint: bool = False) -> MaskPrediction:
        """Decode all prompts of all images.

        Args:
            embedding: of ``embed``.
            prompts: as many rows as the embedding has images.
            joint: all names of an image in one pass, instead of one pass per prompt.

        Raises:
            PromptError: the prompts are for another number of images, or points or masks are to be decoded jointly.
        """
        images = embedding.patches.shape[0]
        if prompts.structures.shape[0] != images:
            raise PromptError(f"{prompts.structures.shape[0]} rows of prompts for {images} images; give one row each")
        if joint:
            return self._decode_jointly(embedding, prompts)
        return self._decode_independently(embedding, prompts)

    def refine(
        self,
        embedding: ImageEmbedding,
        previous_logits: Float[Tensor, "batch prompts half_height half_width"],
        prompts: PromptBatch,
    ) -> MaskPrediction:
        """Decode prompts (usually with one more click) starting from the masks that were predicted before."""
        prediction: MaskPrediction = self(embedding, prompts.with_masks(previous_logits))
        return prediction

    def _decode_jointly(self, embedding: ImageEmbedding, prompts: PromptBatch) -> MaskPrediction:
        if not prompts.names_only:
            raise PromptError("points and earlier masks belong to one prompt each; decode them with joint=False")
        names = self.prompt_encoder.encode_names(prompts.structures)
        no_points = names[:, :0]
        tokens = PromptTokens(
            names=names,
            names_mask=prompts.structures != NO_STRUCTURE,
            points=no_points,
            points_mask=torch.zeros(no_points.shape[:2], dtype=torch.bool, device=names.device),
        )
        logits, iou = self._decode(tokens, embedding.patches + self.prompt_encoder.no_mask, embedding)
        return MaskPrediction(logits, iou)

    def _decode_independently(self, embedding: ImageEmbedding, prompts: PromptBatch) -> MaskPrediction:
        images, per_image = prompts.structures.shape
        points, points_mask = self.prompt_encoder.encode_points(
            prompts.points_xy.flatten(0, 1), prompts.point_labels.flatten(0, 1), embedding.image_size
        )
        names = self.prompt_encoder.encode_names(prompts.structures).flatten(0, 1)[:, None]
        names_mask = torch.ones(names.shape[:2], dtype=torch.bool, device=names.device)
        patches = embedding.patches.repeat_interleave(per_image, dim=0)
        if prompts.mask_logits is None:
            patches = patches + self.prompt_encoder.no_mask
        else:
            earlier = prompts.mask_logits.flatten(0, 1)
            patches = patches + self.prompt_encoder.encode_masks(earlier, embedding.grid)
        logits, iou = self._decode(PromptTokens(names, names_mask, points, points_mask), patches, embedding)
        return MaskPrediction(logits.reshape(images, per_image, *logits.shape[2:]), iou.reshape(images, per_image))

    def _decode(self, tokens: PromptTokens, patches: Tensor, embedding: ImageEmbedding) -> tuple[Tensor, Tensor]:
        position = self.prompt_encoder.place.of_grid(embedding.grid)
        logits, iou = self.mask_decoder(tokens, patches, position, embedding.grid, embedding.fine)
        return logits, iou
