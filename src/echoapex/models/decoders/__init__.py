"""The decoders: each turns the tokens of the shared encoder into the results of one application.

One more, ``outline_view``, reads the masks of the promptable decoder instead of tokens. Each is built from a frozen
configuration, ``DECODERS[name].build(config)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from echoapex.config import Config, build_config
from echoapex.models.decoders.linear import (
    LinearViewConfig,
    LinearViewDecoder,
    ViewFromMasksConfig,
    ViewFromMasksDecoder,
)
from echoapex.models.decoders.multiscale import WallPointConfig, WallPointDecoder
from echoapex.models.decoders.promptable import PromptableConfig, PromptableDecoder
from echoapex.models.decoders.spatiotemporal import ClipConfig, ClipDecoder

__all__ = [
    "DECODERS",
    "ClipConfig",
    "ClipDecoder",
    "DecoderKind",
    "LinearViewConfig",
    "LinearViewDecoder",
    "PromptableConfig",
    "PromptableDecoder",
    "ViewFromMasksConfig",
    "ViewFromMasksDecoder",
    "WallPointConfig",
    "WallPointDecoder",
    "build_decoder",
]


class DecoderKind(NamedTuple):
    """How a decoder is configured and built."""

    config: type[Config]
    build: Callable[[Any], nn.Module]


DECODERS: dict[str, DecoderKind] = {
    "linear": DecoderKind(LinearViewConfig, LinearViewDecoder.build),
    "promptable": DecoderKind(PromptableConfig, PromptableDecoder.build),
    "multiscale": DecoderKind(WallPointConfig, WallPointDecoder.build),
    "outline_view": DecoderKind(ViewFromMasksConfig, ViewFromMasksDecoder.build),
    "spatiotemporal": DecoderKind(ClipConfig, ClipDecoder.build),
}


def build_decoder(name: str, values: Mapping[str, Any], source: str = "configuration") -> nn.Module:
    """The decoder called ``name`` with fresh weights, configured by plain ``values`` as a card or a recipe has them.

    Raises:
        ConfigError: a value does not fit; the message names ``source``.
        ValueError: no decoder has that name.
    """
    if name not in DECODERS:
        raise ValueError(f"{source}: {name!r} is no decoder; known: {', '.join(DECODERS)}")
    kind = DECODERS[name]
    return kind.build(build_config(kind.config, values, source))
