"""The contract between a task and the training loop.

A task is a module with a loss, a prediction and scores. The loop knows this class and no particular task.

Two things that tasks share are here as well: layer-wise learning rates, which fall from the last block of an encoder to
the first (Clark et al., "ELECTRA", 2020; Bao et al., "BEiT", 2022; Oquab et al., "DINOv2", 2023, which also slows the
patch embedding), and the encoded clip, in which every frame is encoded once for all tasks.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor, nn

from echoapex.config import Config
from echoapex.models.encoder import Tokens, VisionTransformer, standardise
from echoapex.models.precision import Precision, choose_precision

Cases = dict[str, Tensor]
"""Results of a task on a validation batch, one row per case; batches are concatenated."""


@dataclass(frozen=True, eq=False)
class Loss:
    """The scalar to minimise, and its terms for the journal."""

    total: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def sum_of(weighted: Iterable[tuple[str, float, Tensor]]) -> Loss:
        """The weighted sum of named terms."""
        parts = list(weighted)
        total = sum((weight * term for _, weight, term in parts[1:]), start=parts[0][1] * parts[0][2])
        return Loss(total, {name: term.detach() for name, _, term in parts})


@dataclass(frozen=True, eq=False)
class ParameterGroup:
    """Parameters that share a learning-rate factor, a weight-decay factor, and a number of frozen first updates.

    Gradients are clipped by the norm of all groups with the same ``network``.
    """

    parameters: list[nn.Parameter]
    learning_rate_factor: float = 1.0
    weight_decay_factor: float = 1.0
    frozen_updates: int = 0
    network: str = ""


class Task(nn.Module):
    """The interface between the training loop and a task."""

    @abstractmethod
    def loss(self, batch: Any) -> Loss:
        """The loss of one batch."""

    @abstractmethod
    def cases(self, batch: Any) -> Cases:
        """The results from which validation scores are computed, one row per case, without gradients.

        The names are the same for every batch; a name without any case in this batch has a tensor without rows.
        """

    @abstractmethod
    def summarise(self, cases: Cases) -> dict[str, float]:
        """Validation scores over all cases, from any number of batches."""

    def score(self, batch: Any) -> dict[str, float]:
        """Validation scores of one batch, without gradients."""
        return self.summarise(self.cases(batch))

    def parameter_groups(self) -> list[ParameterGroup]:
        """Trainable parameters: matrices with weight decay; gains, biases, tokens and embeddings without it."""
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return [
            ParameterGroup([p for p in trainable if is_matrix(p)]),
            ParameterGroup([p for p in trainable if not is_matrix(p)], weight_decay_factor=0.0),
        ]

    def encoder_and_adapter(self) -> tuple[nn.Module | None, nn.Module | None]:
        """The encoder that the task reads, and the adapter that learns in its place: a run reports their sizes.

        None stands for a part that the task does not have.
        """
        return None, None

    def sharding_units(self) -> list[nn.Module]:
        """Modules that are sharded as one unit each, inner ones first; empty: the task cannot be sharded."""
        return []

    def after_step(self, step: int) -> None:
        """Called after every parameter update, for example to update an EMA teacher."""


def is_matrix(parameter: nn.Parameter) -> bool:
    """Whether a parameter gets weight decay: matrices do; gains, biases, tokens and positions do not."""
    return parameter.ndim >= 2 and 1 not in parameter.shape[:-1]


class BatchSource(Protocol):
    """Gives the batch of a step; the same step always gives the same batch, so a resumed run is exact."""

    def batch(self, step: int) -> Any:
        """The batch of ``step``, counted from 0."""


@runtime_checkable
class ShareableBatchSource(BatchSource, Protocol):
    """Batches that can be divided among several processes."""

    def share(self, rank: int, count: int) -> BatchSource:
        """The part of every batch that belongs to process ``rank`` of ``count``; all parts together are the batch.

        Raises:
            ValueError: a batch cannot be divided evenly.
        """


class LayerDecay(Config):
    """Learning-rate factors by depth; by default the whole encoder has the same rate."""

    decay: float = Field(default=1.0, gt=0, le=1)
    """Factor from one block to the block before it."""
    patch_embedding_factor: float = Field(default=1.0, gt=0, le=1)
    """Additional factor for the patch embedding; DINOv2 uses 0.2."""


def layer_decay_groups(encoder: VisionTransformer, config: LayerDecay) -> list[ParameterGroup]:
    """Trainable parameters of an encoder by depth; only matrices have weight decay.

    The last block and the final norm have the full learning rate.
    """
    depth = encoder.config.depth
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in encoder.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = config.decay ** (depth - _level(name, depth))
        if name.startswith("patch_embedding."):
            rate *= config.patch_embedding_factor
        groups.setdefault((rate, float(is_matrix(parameter))), []).append(parameter)
    return [ParameterGroup(parameters, rate, weight_decay) for (rate, weight_decay), parameters in groups.items()]


def _level(name: str, depth: int) -> int:
    """0 before the first block, 1 for the first block, ``depth`` for the last and for the final norm."""
    block = re.match(r"blocks\.(\d+)\.", name)
    if block:
        return int(block.group(1)) + 1
    return depth if name.startswith("norm.") else 0


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
