"""A clip as the encoder saw it: every frame encoded once, shared by all tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from echoapex.data.batch import standardise
from echoapex.models.encoder import VisionTransformer
from echoapex.models.precision import Precision, choose_precision
from echoapex.models.tokens import Tokens


@dataclass(frozen=True, eq=False)
class EncodedClip:
    """Tokens of every frame at several encoder depths, with the pixels they came from.

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
        return standardise(self.pixels[rows]), [_single_precision(tokens, rows) for tokens in self.tokens]


def _single_precision(tokens: Tokens, rows: Tensor) -> Tokens:
    return Tokens(
        tokens.class_token[rows].float(), tokens.registers[rows].float(), tokens.patches[rows].float(), tokens.grid
    )


def _joined(parts: Sequence[Tokens]) -> Tokens:
    return Tokens(
        torch.cat([part.class_token for part in parts]),
        torch.cat([part.registers for part in parts]),
        torch.cat([part.patches for part in parts]),
        parts[0].grid,
    )


def _halved(tokens: Tokens) -> Tokens:
    return Tokens(tokens.class_token.half(), tokens.registers.half(), tokens.patches.half(), tokens.grid)


@torch.inference_mode()
def encode_clip(
    encoder: VisionTransformer,
    blocks: Sequence[int],
    pixels: UInt8[np.ndarray, "frames size size"],
    times_s: Sequence[float],
    chunk: int = 32,
    precision: Precision = "fp32",
) -> EncodedClip:
    """Encode every frame once, ``chunk`` frames at a time; ``bf16`` trades digits for speed where a machine has it."""
    device = next(encoder.parameters()).device
    images = torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
    with choose_precision(precision, device).autocast(device):
        encoded = _encode_parts(encoder, blocks, torch.split(images, chunk))
    tokens = tuple(_joined([part[depth] for part in encoded]) for depth in range(len(blocks)))
    return EncodedClip(images, tokens, torch.as_tensor(list(times_s), dtype=torch.float32, device=device))


def _encode_parts(encoder: VisionTransformer, blocks: Sequence[int], parts: Sequence[Tensor]) -> list[list[Tokens]]:
    return [[_halved(tokens) for tokens in encoder.forward_blocks(standardise(part), blocks)] for part in parts]


def chunks(frames: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Consecutive runs of at most ``size`` frames."""
    for first in range(0, len(frames), size):
        yield frames[first : first + size]
