"""Rows brought to unit length, for matrices so large that every pass over them counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

_CPU_NUMBERS_AT_ONCE = 1 << 19
_GPU_NUMBERS_AT_ONCE = 1 << 27


def unit_rows(matrix: Float[Tensor, "rows width"], epsilon: float = 1e-6) -> Float[Tensor, "rows width"]:
    """Every row divided by its length, or by ``epsilon`` if it is shorter.

    The same as ``torch.nn.functional.normalize``, a few rows at a time, so that forward and backward each read the
    matrix once and keep no copy. Computed in single precision; under autocast the result is in its lower precision.
    """
    kind = matrix.device.type
    if not torch.amp.is_autocast_available(kind):  # shapes without numbers, by which plans are made
        return torch.nn.functional.normalize(matrix, dim=1, eps=epsilon)
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
    with torch.autocast(kind, enabled=False):
        unit: Tensor = _UnitRows.apply(matrix, epsilon, dtype)  # type: ignore[no-untyped-call]
    return unit


class _UnitRows(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, matrix: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
        unit = torch.empty_like(matrix, dtype=dtype)
        lengths = matrix.new_empty(len(matrix), 1, dtype=torch.float32)
        for part in _parts(matrix):
            rows = matrix[part].float()
            torch.linalg.vector_norm(rows, dim=1, keepdim=True, out=lengths[part])
            unit[part] = rows / lengths[part].clamp_min_(epsilon)
        context.save_for_backward(unit, lengths)
        context.epsilon, context.dtype = epsilon, matrix.dtype
        return unit

    @staticmethod
    def backward(context: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        unit, lengths = context.saved_tensors
        gradient = torch.empty_like(unit, dtype=torch.float32)
        for part in _parts(unit):
            directions, length = unit[part].float(), lengths[part]
            change = gradient[part].copy_(upstream[0][part]).div_(length)
            # a change along the row changes its length only; a row shorter than epsilon is scaled and nothing else
            along = (change * directions).sum(dim=1, keepdim=True).mul_(length > context.epsilon)
            change.addcmul_(directions, along, value=-1)
        return gradient.to(context.dtype), None, None


def _parts(matrix: Tensor) -> Iterator[slice]:
    """Slices of rows that stay in the cache of a CPU; on a GPU larger ones, since each costs a launch."""
    numbers = _CPU_NUMBERS_AT_ONCE if matrix.device.type == "cpu" else _GPU_NUMBERS_AT_ONCE
    rows = max(1, numbers // max(1, matrix.shape[1]))
    return (slice(first, first + rows) for first in range(0, len(matrix), rows))
