"""The projection head of self-supervised pretraining: from a token to scores over learned prototypes.

Rows are normalised in few passes over memory, because the matrices are very large.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from echoapex.config import Config

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


class ProjectionHeadConfig(Config):
    """What a head is made of; its input has the width of the encoder's tokens.

    DINOv2 uses 65,536 to 131,072 prototypes, 2,048 hidden units and a bottleneck of 256 for batches of thousands.
    """

    layers: int = Field(default=3, ge=1)
    hidden: int = Field(default=2048, ge=1)
    bottleneck: int = Field(default=256, ge=1)
    prototypes: int = Field(default=65_536, ge=2)


class ProjectionHead(nn.Module):
    """A perceptron, a bottleneck of unit length, and the cosine with each prototype.

    The prototypes are weight-normalised with a gain fixed at one: only their direction counts. Weights start at a scale
    that keeps the variance (DINO starts at 0.02 whatever the sizes): with small activations before the unit length, the
    first updates of a short run would turn all directions alike.

    Sources: Caron et al., "DINO", 2021, appendix C; Salimans and Kingma, "Weight normalization", 2016; He et al.,
    "Delving deep into rectifiers", 2015 (scale of the weights).

    Args:
        width: length of a token.
        config: sizes.
    """

    def __init__(self, width: int, config: ProjectionHeadConfig) -> None:
        super().__init__()
        self.config = config
        sizes = [width, *[config.hidden] * (config.layers - 1), config.bottleneck]
        layers: list[nn.Module] = []
        for given, wanted in pairwise(sizes):
            layers += [nn.Linear(given, wanted), nn.GELU()]
        self.perceptron = nn.Sequential(*layers[:-1])
        self.prototypes = nn.Parameter(torch.empty(config.prototypes, config.bottleneck))
        for module in self.perceptron:
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=(2 / module.in_features) ** 0.5)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.prototypes, std=config.bottleneck**-0.5)

    def forward(
        self, tokens: Float[Tensor, "tokens width"], frozen_prototypes: bool = False
    ) -> Float[Tensor, "tokens prototypes"]:
        """Cosines, from -1 to 1, of the projected tokens with the prototypes.

        Args:
            tokens: of the encoder.
            frozen_prototypes: send no gradient into the prototypes.
        """
        directions = functional.normalize(self.perceptron(tokens).float(), dim=-1, eps=1e-6)
        prototypes = self.prototypes.detach() if frozen_prototypes else self.prototypes
        return functional.linear(directions, unit_rows(prototypes))
