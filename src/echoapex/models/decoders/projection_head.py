"""The projection head of self-supervised pretraining: from a token to scores over learned prototypes."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from echoapex.config import Config
from echoapex.models.unit_rows import unit_rows


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
