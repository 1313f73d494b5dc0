"""The contract between a task and the training loop.

A task is a module that knows its loss, what to predict and how to score it. The loop knows this class and nothing
else: no task is special to it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Loss:
    """The scalar to minimise and the terms that it is made of, for the journal."""

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
    """Parameters that share a learning-rate factor, a weight decay factor, and a number of updates to wait.

    Gradients are clipped by the norm of all groups with the same ``network``.
    """

    parameters: list[nn.Parameter]
    learning_rate_factor: float = 1.0
    weight_decay_factor: float = 1.0
    frozen_updates: int = 0
    network: str = ""


Cases = dict[str, Tensor]
"""What a task found on the cases of a validation batch, one row per case; batches are joined row by row."""


class Task(nn.Module):
    """What the training loop asks of a task."""

    @abstractmethod
    def loss(self, batch: Any) -> Loss:
        """The loss of one batch."""

    @abstractmethod
    def cases(self, batch: Any) -> Cases:
        """What validation figures are made of, case by case, without gradients; the same names for every batch.

        Of a name without any case in this batch the tensor has no rows.
        """

    @abstractmethod
    def summarise(self, cases: Cases) -> dict[str, float]:
        """Validation figures of all cases together, however many batches they came in."""

    def score(self, batch: Any) -> dict[str, float]:
        """Validation figures of one batch, without gradients."""
        return self.summarise(self.cases(batch))

    def parameter_groups(self) -> list[ParameterGroup]:
        """Trainable parameters: matrices with weight decay; gains, biases, tokens and embeddings without."""
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return [
            ParameterGroup([p for p in trainable if is_matrix(p)]),
            ParameterGroup([p for p in trainable if not is_matrix(p)], weight_decay_factor=0.0),
        ]

    def sharding_units(self) -> list[nn.Module]:
        """Modules whose parameters are divided over processes as one, inner ones first; none: it cannot be divided."""
        return []

    def after_step(self, step: int) -> None:
        """Called after every parameter update: an EMA teacher lives here."""


def is_matrix(parameter: nn.Parameter) -> bool:
    """Whether weight decay is for this parameter: it is not for gains, biases, tokens and positions."""
    return parameter.ndim >= 2 and 1 not in parameter.shape[:-1]


class BatchSource(Protocol):
    """Gives the batch of a step; the same step always gives the same batch, so that a resumed run is exact."""

    def batch(self, step: int) -> Any:
        """The batch of ``step``, counted from 0."""


@runtime_checkable
class ShareableBatchSource(BatchSource, Protocol):
    """Batches that several processes can divide among themselves."""

    def share(self, rank: int, count: int) -> BatchSource:
        """The part of every batch that belongs to process ``rank`` of ``count``; all parts together are the batch.

        Raises:
            ValueError: a batch cannot be divided evenly.
        """
