"""Tokens without an encoder, and what each decoder is asked in the battery."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from echoapex.models.encoder import Tokens

MakeTokens = Callable[..., list[Tokens]]


@pytest.fixture(scope="session")
def make_tokens() -> MakeTokens:
    """Random tokens of several depths for images of ``side`` x ``side`` patches."""

    def make(images: int = 2, side: int = 4, depths: int = 4, width: int = 192, seed: int = 1) -> list[Tokens]:
        generator = torch.Generator().manual_seed(seed)

        def draw(count: int) -> Tensor:
            return torch.randn(images, count, width, generator=generator)

        return [Tokens(draw(1)[:, 0], draw(4), draw(side * side), (side, side)) for _ in range(depths)]

    return make
