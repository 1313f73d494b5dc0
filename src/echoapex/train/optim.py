"""One update of the weights: gradients, schedules of learning rate and weight decay, and the running average.

Gradients come from a forward and a backward pass over each part of the batch, are averaged over the processes and
clipped. The average of the weights is kept outside the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from echoapex.config import Config
from echoapex.models.precision import ChosenPrecision
from echoapex.tasks.task import Loss, Task
from echoapex.train.distributed import Processes, fitted, whole


class OptimConfig(Config):
    """AdamW with linear warm-up and a cosine to ``final_factor`` of the peak (Loshchilov and Hutter, 2019)."""

    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    final_weight_decay: float | None = Field(default=None, ge=0)
    """Weight decay at the end of the run, reached along half a cosine as in DINOv2; None: constant."""
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: int = Field(default=200, ge=0)
    final_factor: float = Field(default=0.01, ge=0, le=1)
    clip_norm: float = Field(default=1.0, gt=0)
    """Largest gradient norm; a task may name several networks (student encoder and heads), each clipped by itself."""


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
    """Clip the gradient norm of every network to ``longest``; returns the norms before clipping, by network.

    A gradient with a non-finite norm is not changed, so that its parameters can be named in the error.
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
    """Set the weight decay of a step, times the factor of each group."""
    for group in optimizer.param_groups:
        group["weight_decay"] = decay * group["weight_decay_factor"]


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float, step: int) -> None:
    """Set the learning rate of a step, times the factor of each group.

    A group that is frozen for the first updates has rate 0; then its rate rises over the same number of updates.
    """
    for group in optimizer.param_groups:
        frozen = group["frozen_updates"]
        thawed = min(1.0, max(0, step + 1 - frozen) / frozen) if frozen else 1.0
        group["lr"] = rate * group["factor"] * thawed


@dataclass(frozen=True)
class GradientRules:
    """How gradients are computed: number of parts of a batch, precision, and the largest gradient norm."""

    parts: int
    precision: ChosenPrecision
    clip_norm: float


class Gradients:
    """Computes the gradients of a task's trainable parameters.

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
        self._autocast = rules.precision.autocast(next(task.parameters()).device)
        self._processes = processes
        self.precision = rules.precision.name

    def compute(self, batch: Any) -> tuple[Loss, dict[str, float]]:
        """The mean loss over parts and processes, and the gradient norm of each network before clipping.

        The caller makes the update after checking that both are finite.
        """
        self._optimizer.zero_grad(set_to_none=True)
        count = self._rules.parts
        losses = []
        for number, part in enumerate(batch.split(count) if count > 1 else [batch], start=1):
            with self._averaged_only_if(number == count):
                with self._autocast:
                    loss = Loss(*self._loss_of(part))
                (loss.total / count).backward()  # type: ignore[no-untyped-call]
            losses.append(loss)
        mean = self._processes.mean_of(losses[0] if count == 1 else _mean(losses))
        return mean, clip_gradients(self._optimizer, self._rules.clip_norm)

    def _averaged_only_if(self, last: bool) -> Any:
        """Sum the gradients of all parts first, and average over the processes only with the last part."""
        if last or not isinstance(self._loss_of, DistributedDataParallel):
            return nullcontext()
        return self._loss_of.no_sync()


class _LossOf(nn.Module):
    """The loss of a task as a forward pass, so that DDP can wrap it."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self._task.loss(batch)
        return loss.total, loss.terms


def _mean(losses: list[Loss]) -> Loss:
    """The mean loss of the parts of a batch, without gradient."""
    terms = {name: torch.stack([loss.terms[name] for loss in losses]).mean() for name in losses[0].terms}
    return Loss(torch.stack([loss.total.detach() for loss in losses]).mean(), terms)


class WeightAverage:
    """Follows the trainable parameters of a module with decay ``min(decay, (1 + t) / (10 + t))`` at update t.

    With a decay of 0 the average would equal the weights, so nothing is stored and nothing replaced.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state: dict[str, Tensor] = {
            name: parameter.detach().clone()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad and decay > 0
        }

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average towards the weights after update number ``step``."""
        decay = min(self.decay, (1 + step) / (10 + step))
        parameters = dict(module.named_parameters())
        names = list(self.state)
        if not names:
            return
        torch._foreach_lerp_([self.state[n] for n in names], [parameters[n].detach() for n in names], 1 - decay)

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over a saved average.

        Raises:
            KeyError: the saved average has other parameters.
        """
        if set(state) != set(self.state):
            raise KeyError("the saved average has other parameters than the task")
        for name, value in state.items():
            self.state[name].copy_(fitted(value, self.state[name]))

    @contextmanager
    def applied_to(self, module: nn.Module) -> Iterator[None]:
        """Context manager: the module has the averaged weights inside the block, and its own weights afterwards."""
        parameters = dict(module.named_parameters())
        own = {name: parameters[name].detach().clone() for name in self.state}
        _copy_into(parameters, self.state)
        try:
            yield
        finally:
            _copy_into(parameters, own)


@torch.no_grad()
def _copy_into(parameters: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
    for name, value in values.items():
        parameters[name].copy_(value)
