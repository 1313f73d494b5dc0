"""The gradients of one step: forward and backward, part by part, averaged over the processes, clipped."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from echoapex.models.precision import ChosenPrecision
from echoapex.tasks.task import Loss, Task
from echoapex.train.distributed import Processes
from echoapex.train.optim import clip_gradients


@dataclass(frozen=True)
class GradientRules:
    """In how many parts a batch is computed, in which precision, and how long a gradient may be."""

    parts: int
    precision: ChosenPrecision
    clip_norm: float


class Gradients:
    """Fills the gradients of what learns in a task.

    Args:
        task: on its device.
        optimizer: of its parameters.
        rules: how to compute.
        processes: that share every batch.
    """

    def __init__(
        self, task: Task, optimizer: torch.optim.Optimizer, rules: GradientRules, processes: Processes
    ) -> None:
        self._loss_of = processes.averaging(_LossOf(task))
        self._optimizer = optimizer
        self._rules = rules
        self._processes = processes
        self.precision = rules.precision.name

    def compute(self, batch: Any, device: torch.device) -> tuple[Loss, dict[str, float]]:
        """The mean loss of a batch over its parts and processes, and the length of each network's gradient unclipped.

        The update is the caller's to make, once both are finite.
        """
        self._optimizer.zero_grad(set_to_none=True)
        count = self._rules.parts
        losses = []
        for number, part in enumerate(batch.split(count) if count > 1 else [batch], start=1):
            with self._averaged_only_if(number == count):
                with self._rules.precision.autocast(device):
                    loss = Loss(*self._loss_of(part))
                (loss.total / count).backward()  # type: ignore[no-untyped-call]
            losses.append(loss)
        mean = self._processes.mean_of(losses[0] if count == 1 else _mean(losses))
        return mean, clip_gradients(self._optimizer, self._rules.clip_norm)

    def _averaged_only_if(self, last: bool) -> Any:
        """Gradients of all parts are added up first, and averaged over the processes once."""
        if last or not isinstance(self._loss_of, DistributedDataParallel):
            return nullcontext()
        return self._loss_of.no_sync()


class _LossOf(nn.Module):
    """The loss of a task as a forward pass, which is what can be wrapped."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self._task.loss(batch)
        return loss.total, loss.terms


def _mean(losses: list[Loss]) -> Loss:
    """The mean of the parts of a batch, without a gradient."""
    terms = {name: torch.stack([loss.terms[name] for loss in losses]).mean() for name in losses[0].terms}
    return Loss(torch.stack([loss.total.detach() for loss in losses]).mean(), terms)
