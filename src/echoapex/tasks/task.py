"""The contract between a task and the training loop.

A task is a module with a loss, a prediction and scores. The loop knows this class and no particular task. Tasks on
single frames can share one encoder: every frame is encoded once, and every decoder sends its gradient into it.

Learning rates may fall layer by layer from the last block of an encoder to the first (Clark et al., "ELECTRA", 2020;
Bao et al., "BEiT", 2022; Oquab et al., "DINOv2", 2023, which also slows the patch embedding).
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from echoapex.config import Config
from echoapex.data.batch import FrameBatch
from echoapex.models.adapters import Adapter
from echoapex.models.encoder import Tokens, VisionTransformer, standardise

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


def scale_learning_rate(
    groups: Iterable[ParameterGroup], members: Iterable[nn.Parameter], factor: float
) -> list[ParameterGroup]:
    """The groups, each split into the members, whose learning rate is scaled by the factor, and the rest."""
    chosen = {id(parameter) for parameter in members}
    return [
        ParameterGroup([p for p in group.parameters if (id(p) in chosen) is inside], scale, group.weight_decay_factor)
        for group in groups
        for inside, scale in ((True, factor), (False, 1.0))
    ]


class FrameTask(Task):
    """A task on single frames that reads tokens of an encoder, which other tasks may share."""

    encoder: VisionTransformer
    decoder: Any
    blocks: tuple[int, ...]
    """The depths of the encoder that the task reads."""

    def __init__(self) -> None:
        super().__init__()
        self.adapter: Adapter | None = None
        """What learns in place of the encoder, attached to it."""

    @abstractmethod
    def loss_from_tokens(self, images: Tensor, tokens: Sequence[Tokens], batch: FrameBatch) -> Loss:
        """The loss of frames that are already encoded."""

    @abstractmethod
    def cases_from_tokens(self, images: Tensor, tokens: Sequence[Tokens], batch: FrameBatch) -> Cases:
        """The cases of frames that are already encoded."""

    def encoder_and_adapter(self) -> tuple[nn.Module | None, nn.Module | None]:
        """The encoder, and the adapter where one learns in its place."""
        return self.encoder, self.adapter

    def loss(self, batch: FrameBatch) -> Loss:
        """The loss of a batch of frames."""
        images = standardise(batch.pixels)
        return self.loss_from_tokens(images, self.encoder.forward_blocks(images, self.blocks), batch)

    @torch.no_grad()
    def cases(self, batch: FrameBatch) -> Cases:
        """The results on a batch of frames."""
        images = standardise(batch.pixels)
        return self.cases_from_tokens(images, self.encoder.forward_blocks(images, self.blocks), batch)


class SharedEncoderTask(FrameTask):
    """Frame tasks that share one encoder: every frame is encoded once, and the weighted losses are summed.

    Args:
        parts: the tasks by name, with the same encoder and the same depths; each becomes an attribute of its name.
        weights: of the loss of each part.

    Raises:
        ValueError: the parts have different encoders.
    """

    def __init__(self, parts: Mapping[str, FrameTask], weights: Mapping[str, float]) -> None:
        super().__init__()
        first, *others = parts.values()
        if any(part.encoder is not first.encoder for part in others):
            raise ValueError("the tasks of a multitask share one encoder")
        self.encoder = first.encoder
        self.blocks = first.blocks
        self._weight_of = {name: weights[name] for name in parts}
        for name, part in parts.items():
            self.add_module(name, part)

    def loss_from_tokens(self, images: Tensor, tokens: Sequence[Tokens], batch: FrameBatch) -> Loss:
        """The weighted sum of the losses of all parts."""
        losses = {name: part.loss_from_tokens(images, tokens, batch) for name, part in self._parts()}
        first, *others = (self._weight_of[name] * loss.total for name, loss in losses.items())
        return Loss(
            sum(others, start=first), {name: term for loss in losses.values() for name, term in loss.terms.items()}
        )

    def cases_from_tokens(self, images: Tensor, tokens: Sequence[Tokens], batch: FrameBatch) -> Cases:
        """The cases of all parts."""
        found = (part.cases_from_tokens(images, tokens, batch) for _, part in self._parts())
        return {name: rows for cases in found for name, rows in cases.items()}

    def summarise(self, cases: Cases) -> dict[str, float]:
        """The scores of all parts."""
        return {name: figure for _, part in self._parts() for name, figure in part.summarise(cases).items()}

    def _parts(self) -> Iterator[tuple[str, FrameTask]]:
        for name in self._weight_of:
            part = self.get_submodule(name)
            assert isinstance(part, FrameTask)
            yield name, part


def is_matrix(parameter: nn.Parameter) -> bool:
    """Whether a parameter gets weight decay: matrices do; gains, biases, tokens and positions do not."""
    return parameter.ndim >= 2 and 1 not in parameter.shape[:-1]


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
