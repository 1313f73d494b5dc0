"""Adapters: few parameters that adapt a frozen encoder to a task, exchangeable at run time.

Every adapter is a set of additions: a small module beside a part of the encoder, which reads the input of that part and
adds to its output. At the start an addition is zero, so the encoder is unchanged. The encoder's own weights are never
changed. Several adapters can belong to one encoder in memory; one at a time is attached.

Sources: Hu et al., "LoRA", 2022; Chen et al., "AdaptFormer", 2022; Ben Zaken et al., "BitFit", 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from echoapex.config import Config, ConfigError, build_config
from echoapex.models.attention import FeedForward
from echoapex.models.bundle import Bundle, BundleError
from echoapex.models.encoder import VisionTransformer
from echoapex.models.weights_file import WeightsError, load_weights

AdapterKind = Literal["lora", "bottleneck", "bitfit"]
LoraPlace = Literal["qkv", "projection", "expand", "contract"]


class AdapterConfig(Config):
    """Kind and size of an adapter.

    ``lora``: a product of two thin matrices beside linear layers of attention and feed-forward network. ``bottleneck``:
    a narrow network beside each feed-forward network (AdaptFormer). ``bitfit``: an offset of every bias.
    """

    kind: AdapterKind = "lora"
    rank: int = Field(default=4, ge=1)
    """Width of the thin matrices (lora) or of the narrow network (bottleneck)."""
    scale: float = Field(default=2.0, gt=0)
    """Factor of the addition; for lora this is alpha / rank."""
    places: tuple[LoraPlace, ...] = ("qkv", "projection", "expand", "contract")
    """Linear layers that get a lora addition."""
    dropout: float = Field(default=0.0, ge=0, lt=1)


class LowRank(nn.Module):
    """LoRA: the input through a matrix to ``rank`` numbers and through another to the output; the second starts at
    zero.
    """

    def __init__(self, layer: nn.Linear, config: AdapterConfig) -> None:
        super().__init__()
        self.scale = config.scale
        self.dropout = nn.Dropout(config.dropout)
        self.down = nn.Parameter(torch.empty(config.rank, layer.in_features))
        self.up = nn.Parameter(torch.zeros(layer.out_features, config.rank))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, given: Tensor) -> Tensor:
        """What is to be added to the layer's output."""
        inner = nn.functional.linear(self.dropout(given), self.down)
        return nn.functional.linear(inner, self.up) * self.scale

    def product(self) -> Tensor:
        """The equivalent change of the layer's weight."""
        return self.scale * (self.up @ self.down)


class Bottleneck(nn.Module):
    """AdaptFormer: a narrow network with a ReLU beside a feed-forward network; its last layer starts at zero."""

    def __init__(self, layer: FeedForward, config: AdapterConfig) -> None:
        super().__init__()
        width = layer.expand.in_features
        self.scale = config.scale
        self.dropout = nn.Dropout(config.dropout)
        self.down = nn.Linear(width, config.rank)
        self.up = nn.Linear(config.rank, width)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, given: Tensor) -> Tensor:
        """The addition to the output of the network."""
        added: Tensor = self.up(self.dropout(torch.relu(self.down(given)))) * self.scale
        return added


class Offset(nn.Module):
    """BitFit: one number per channel, added to the output, which is equivalent to changing the bias."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros_like(bias))

    def forward(self, given: Tensor) -> Tensor:
        """What is to be added to the layer's output."""
        return self.offset


class Adapter(nn.Module):
    """The additions to one encoder, by the name of the module beside them.

    Args:
        encoder: to be adapted; only its shapes are read.
        config: which additions.
    """

    def __init__(self, encoder: VisionTransformer, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        additions: dict[str, nn.Module] = {}
        for name, module in encoder.named_modules():
            addition = _addition(name, module, config)
            if addition is not None:
                additions[name.replace(".", "/")] = addition  # a module's name has no dots
        self.additions = nn.ModuleDict(additions)

    def attach(self, encoder: VisionTransformer) -> list[RemovableHandle]:
        """Attach the adapter to the encoder until the returned handles are removed."""
        places = dict(encoder.named_modules())
        return [
            places[name.replace("/", ".")].register_forward_hook(_adding(addition))
            for name, addition in self.additions.items()
        ]

    @contextmanager
    def attached(self, encoder: VisionTransformer) -> Iterator[VisionTransformer]:
        """Context manager: the encoder is adapted inside the block only. Nothing is copied or loaded."""
        handles = self.attach(encoder)
        try:
            yield encoder
        finally:
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def merge_into(self, encoder: VisionTransformer) -> None:
        """Change the encoder's weights so that it gives the same output without the adapter.

        Raises:
            ValueError: a bottleneck is a network of its own and cannot be merged.
        """
        places = dict(encoder.named_modules())
        for name, addition in self.additions.items():
            layer: Any = places[name.replace("/", ".")]
            if isinstance(addition, LowRank):
                layer.weight += addition.product()
            elif isinstance(addition, Offset):
                layer.bias += addition.offset
            else:
                raise ValueError("a bottleneck adapter cannot be merged into the encoder; keep it beside it")

    def count_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())


def build_adapter_from(bundle: Bundle, encoder: VisionTransformer) -> Adapter:
    """The adapter of a bundle, for the encoder that its card names (``Bundle.require_encoder`` checks that).

    Raises:
        BundleError: the bundle holds no adapter, or its card and its weights disagree.
    """
    if bundle.card.kind != "adapter":
        raise BundleError(f"{bundle.directory}: holds no adapter; give an adapter bundle")
    try:
        config = build_config(AdapterConfig, bundle.card.architecture, f"{bundle.directory}: architecture")
        adapter = Adapter(encoder, config)
        load_weights(adapter, bundle.state, bundle.directory)
    except (ConfigError, WeightsError) as error:
        raise BundleError(str(error)) from error
    return adapter.eval().requires_grad_(False)


def adapt(encoder: VisionTransformer, config: AdapterConfig) -> Adapter:
    """Freeze an encoder, without stochastic depth, and attach a fresh adapter to it."""
    freeze(encoder)
    adapter = Adapter(encoder, config)
    adapter.attach(encoder)
    return adapter


def adapt_further(encoder: VisionTransformer, bundle: Bundle) -> Adapter:
    """Freeze an encoder and attach a trained adapter, which is trained further.

    Raises:
        BundleError: the bundle holds no adapter, or its card and its weights disagree.
    """
    freeze(encoder)
    adapter = build_adapter_from(bundle, encoder).train().requires_grad_(True)
    adapter.attach(encoder)
    return adapter


def freeze(encoder: VisionTransformer) -> None:
    """Freeze an encoder: no gradient, no stochastic depth."""
    encoder.requires_grad_(False)
    for block in encoder.blocks:
        block.drop_path.probability = 0.0  # type: ignore[union-attr]


def _addition(name: str, module: nn.Module, config: AdapterConfig) -> nn.Module | None:
    """The addition beside a module, or None."""
    in_block = name.startswith("blocks.")
    if (
        config.kind == "lora"
        and in_block
        and isinstance(module, nn.Linear)
        and name.rsplit(".", 1)[-1] in config.places
    ):
        return LowRank(module, config)
    if config.kind == "bottleneck" and isinstance(module, FeedForward):
        return Bottleneck(module, config)
    if config.kind == "bitfit" and isinstance(module, nn.Linear | nn.LayerNorm) and module.bias is not None:
        return Offset(module.bias)
    return None


def _adding(addition: nn.Module) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    def add(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        added: Tensor = addition(given[0])
        return output + added.to(output.dtype)

    return add
