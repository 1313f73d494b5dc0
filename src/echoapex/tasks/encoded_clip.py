"""The encoded clip: every frame is encoded once, for all tasks that read the same encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from echoapex.models.adapters import Adapter
from echoapex.models.encoder import Tokens, VisionTransformer, standardise
from echoapex.models.precision import Precision, choose_precision


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
    """Encode every frame once, ``chunk`` frames at a time; ``bf16`` is faster and less exact."""
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


@dataclass(frozen=True, eq=False)
class TaskModel:
    """An encoder with the depths that one task reads, the side of its input in pixels, and the adapter it needs.

    ``digests``: sha256 of the weights of encoder, decoder and adapter, by bundle.
    """

    encoder: VisionTransformer
    blocks: tuple[int, ...]
    input_size: int
    adapter: Adapter | None = None
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def pass_key(self) -> tuple[int, int, int]:
        """Tasks with the same key share the tokens of one encoder pass."""
        return id(self.encoder), id(self.adapter), self.input_size

    def adapted(self) -> AbstractContextManager[VisionTransformer]:
        """Context manager: the encoder with the adapter of this task attached, if it has one."""
        return nullcontext(self.encoder) if self.adapter is None else self.adapter.attached(self.encoder)
