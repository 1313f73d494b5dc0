"""One optimiser step: parameter groups, schedules of learning rate and weight decay, and the gradients.

Gradients come from a forward and a backward pass over each part of the batch, are averaged over the processes and
clipped.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from echoapex.config import Config
from echoapex.models.precision import ChosenPrecision
from echoapex.tasks.task import Loss, Task
from echoapex.train.distributed import Processes, whole


class OptimConfig(Config):
    """AdamW with linear warm-up and a cosine to ``final_factor`` of the peak (Loshchilov and Hutter, 2019)."""

    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    final_weight_decay: float | None = Field(default=None, ge=0)
    """Weight decay at the end of the run, reached on half a cosine as in DINOv2; None: it stays as it is."""
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: int = Field(default=200, ge=0)
    final_factor: float = Field(default=0.01, ge=0, le=1)
    clip_norm: float = Field(default=1.0, gt=0)
    """Longest gradient of a network; a task may name several (student encoder and heads), clipped one by one."""


def build_optimizer(task: Task, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the parameter groups that the task names; each group keeps its learning-rate factor."""
    groups = [
        {
            "params": group.parameters,
            "lr": config.lr * group.learning_rate_factor,
            "factor": group.learning_rate_factor,
            "frozen_updates": group.frozen_updates,
            "network": group.network,
            "weight_decay": config.weight_decay * group.weight_decay_factor,
            "weight_decay_factor": group.weight_decay_factor,
        }
        for group in task.parameter_groups()
        if group.parameters
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def learning_rate(step: int, steps: int, config: OptimConfig) -> float:
    """Learning rate of ``step`` (counted from 0) in a run of ``steps``.

    >>> learning_rate(0, 100, OptimConfig(lr=1.0, warmup_steps=10))
    0.1
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.lr * (config.final_factor + (1 - config.final_factor) * cosine)


def weight_decay(step: int, steps: int, config: OptimConfig) -> float:
    """Weight decay of ``step`` (counted from 0) in a run of ``steps``.

    >>> config = OptimConfig(weight_decay=0.04, final_weight_decay=0.4)
    >>> [round(weight_decay(step, 101, config), 2) for step in (0, 50, 100)]
    [0.04, 0.22, 0.4]
    """
    if config.final_weight_decay is None:
        return config.weight_decay
    share = 0.5 * (1 - math.cos(math.pi * step / max(1, steps - 1)))
    return config.weight_decay + (config.final_weight_decay - config.weight_decay) * share


def clip_gradients(optimizer: torch.optim.Optimizer, longest: float) -> dict[str, float]:
    """Shorten the gradients of every network to ``longest``; the length that each had before, by its name.

    A gradient whose length is no finite number is left as it is, so that its parameters can be named.
    """
    networks: dict[str, list[nn.Parameter]] = {}
    for group in optimizer.param_groups:
        networks.setdefault(group["network"], []).extend(group["params"])
    norms: dict[str, float] = {}
    for name, members in networks.items():
        norm = torch.nn.utils.get_total_norm([p.grad for p in members if p.grad is not None])
        norms[name] = float(whole(norm))
        if math.isfinite(norms[name]):
            torch.nn.utils.clip_grads_with_norm_(members, longest, norm)
    return norms


def set_weight_decay(optimizer: torch.optim.Optimizer, decay: float) -> None:
    """Give every group its share of the weight decay of a step."""
    for group in optimizer.param_groups:
        group["weight_decay"] = decay * group["weight_decay_factor"]


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float, step: int) -> None:
    """Give every group its share of the learning rate of a step.

    A group that is frozen at first has none, and so stays as it is; then its share rises over as many updates again.
    """
    for group in optimizer.param_groups:
        frozen = group["frozen_updates"]
        thawed = min(1.0, max(0, step + 1 - frozen) / frozen) if frozen else 1.0
        group["lr"] = rate * group["factor"] * thawed


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
