"""Rows brought to unit length, for matrices so large that every pass over them counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

_CPU_NUMBERS_AT_ONCE = 1 << 18
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
        context.save_for_backward(matrix)
        context.epsilon = epsilon
        unit = torch.empty_like(matrix, dtype=dtype)
        for part in _parts(matrix):
            rows = matrix[part].float()
            unit[part] = rows / rows.norm(dim=1, keepdim=True).clamp_min(epsilon)
        return unit

    @staticmethod
    def backward(context: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (matrix,), epsilon = context.saved_tensors, context.epsilon
        gradient = torch.empty_like(matrix)
        for part in _parts(matrix):
            rows, above = matrix[part].float(), upstream[0][part].float()
            length = rows.norm(dim=1, keepdim=True)
            inverse = 1 / length.clamp_min(epsilon)
            # a change along the row changes its length only; a row shorter than epsilon is scaled and nothing else
            along = torch.linalg.vecdot(above, rows)[:, None] * inverse.square() * (length >= epsilon)
            gradient[part] = above.addcmul(rows, along, value=-1).mul_(inverse)
        return gradient, None, None


def _parts(matrix: Tensor) -> Iterator[slice]:
    """Slices of rows that stay in the cache of a CPU; on a GPU larger ones, since each costs a launch."""
    numbers = _CPU_NUMBERS_AT_ONCE if matrix.device.type == "cpu" else _GPU_NUMBERS_AT_ONCE
    rows = max(1, numbers // max(1, matrix.shape[1]))
    return (slice(first, first + rows) for first in range(0, len(matrix), rows))
