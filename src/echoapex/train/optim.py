"""Optimiser and learning-rate schedule."""

from __future__ import annotations

import math

import torch
from pydantic import Field

from echoapex.config import Config
from echoapex.tasks.task import Task


class OptimConfig(Config):
    """AdamW with linear warm-up and a cosine to ``final_factor`` of the peak (Loshchilov and Hutter, 2019)."""

    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: int = Field(default=200, ge=0)
    final_factor: float = Field(default=0.01, ge=0, le=1)
    clip_norm: float = Field(default=1.0, gt=0)


def build_optimizer(task: Task, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the parameter groups that the task names; each group keeps its learning-rate factor."""
    groups = [
        {
            "params": group.parameters,
            "lr": config.lr * group.learning_rate_factor,
            "factor": group.learning_rate_factor,
            "frozen_updates": group.frozen_updates,
            "weight_decay": config.weight_decay * group.weight_decay_factor,
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


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float, step: int) -> None:
    """Give every group its share of the learning rate of a step.

    A group that is frozen at first has none, and so stays as it is; then its share rises over as many updates again.
    """
    for group in optimizer.param_groups:
        frozen = group["frozen_updates"]
        thawed = min(1.0, max(0, step + 1 - frozen) / frozen) if frozen else 1.0
        group["lr"] = rate * group["factor"] * thawed
