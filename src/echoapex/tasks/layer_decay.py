"""Learning rates that fall from the last block of an encoder to the first: what was learned long ago changes slowly.

Sources: Clark et al., "ELECTRA", 2020; Bao et al., "BEiT", 2022; Oquab et al., "DINOv2", 2023 (which also slows the
patch embedding down).
"""

from __future__ import annotations

import re

from pydantic import Field
from torch import nn

from echoapex.config import Config
from echoapex.models.encoder import VisionTransformer
from echoapex.tasks.task import ParameterGroup, is_matrix


class LayerDecay(Config):
    """Factors of the learning rate; by default all of an encoder learns alike."""

    decay: float = Field(default=1.0, gt=0, le=1)
    """From one block to the one before it."""
    patch_embedding_factor: float = Field(default=1.0, gt=0, le=1)
    """A further factor for the patch embedding; DINOv2 has 0.2."""


def layer_decay_groups(encoder: VisionTransformer, config: LayerDecay) -> list[ParameterGroup]:
    """Trainable parameters of an encoder by depth, matrices with weight decay and everything else without.

    The last block and the final norm learn at the full rate.
    """
    depth = encoder.config.depth
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in encoder.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = config.decay ** (depth - _level(name, depth))
        if name.startswith("patch_embedding."):
            rate *= config.patch_embedding_factor
        groups.setdefault((rate, float(is_matrix(parameter))), []).append(parameter)
    return [ParameterGroup(parameters, rate, weight_decay) for (rate, weight_decay), parameters in groups.items()]


def _level(name: str, depth: int) -> int:
    """0 before the first block, 1 for the first block, ``depth`` for the last and for the final norm."""
    block = re.match(r"blocks\.(\d+)\.", name)
    if block:
        return int(block.group(1)) + 1
    return depth if name.startswith("norm.") else 0
