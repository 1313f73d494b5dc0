"""Rows of all processes side by side, for a loss that compares every example with every other."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed


def gather_over_processes(rows: Float[Tensor, "own width"]) -> Float[Tensor, "all width"]:
    """The rows of all processes of ``torch.distributed``, by rank; with one process the rows themselves.

    A loss that every process computes from the result has, in a process's own rows, a gradient that is the sum over the
    processes; once gradients are averaged over them, it is that of one process with all rows. Every process has as
    many rows as any other.
    """
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return rows
    gathered: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total.chunk(distributed.get_world_size())[distributed.get_rank()]
