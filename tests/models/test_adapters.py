"""Additions beside a frozen encoder: nothing at first, exchanged without loading, merged where that can be."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from echoapex.models.adapters import Adapter, AdapterConfig, AdapterKind, LowRank, adapt
from echoapex.models.encoder import EncoderConfig, EncoderSize, VisionTransformer

KINDS = get_args(AdapterKind)


def encoder_of(size: EncoderSize = "tiny", seed: int = 0) -> VisionTransformer:
    torch.manual_seed(seed)
    return VisionTransformer(EncoderConfig(size=size, image_size=32, drop_path=0.3)).eval()


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def stirred(adapter: Adapter) -> Adapter:
    """As if it had learned something."""
    generator = torch.Generator().manual_seed(2)
    for parameter in adapter.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    return adapter


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_adapter_changes_nothing(kind: AdapterKind) -> None:
    encoder = encoder_of()
    with torch.no_grad():
        plain = encoder(images()).patches
        with Adapter(encoder, AdapterConfig(kind=kind)).attached(encoder):
            assert torch.equal(encoder(images()).patches, plain)


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_are_exchanged_without_a_trace(kind: AdapterKind) -> None:
    encoder = encoder_of()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    one, other = (stirred(Adapter(encoder, AdapterConfig(kind=kind))) for _ in range(2))
    for parameter in other.parameters():
        parameter.data *= -1
    with torch.no_grad():
        plain = encoder(images()).patches
        with one.attached(encoder):
            first = encoder(images()).patches
        with other.attached(encoder):
            second = encoder(images()).patches
        with one.attached(encoder):
            again = encoder(images()).patches
        assert torch.equal(encoder(images()).patches, plain)
    assert torch.equal(first, again)
    assert not torch.allclose(first, plain, atol=1e-3)
    assert not torch.allclose(first, second, atol=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize("kind", ["lora", "bitfit"])
def test_a_merged_adapter_is_the_same_encoder(kind: AdapterKind) -> None:
    encoder = encoder_of()
    adapter = stirred(Adapter(encoder, AdapterConfig(kind=kind)))
    with torch.no_grad():
        with adapter.attached(encoder):
            beside = encoder(images()).patches
        adapter.merge_into(encoder)
        assert torch.allclose(encoder(images()).patches, beside, atol=1e-4)


def test_a_bottleneck_cannot_be_merged() -> None:
    encoder = encoder_of()
    with pytest.raises(ValueError, match="bottleneck adapter cannot be merged"):
        Adapter(encoder, AdapterConfig(kind="bottleneck")).merge_into(encoder)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_adapter_learns(kind: AdapterKind) -> None:
    encoder = encoder_of().train()
    adapter = adapt(encoder, AdapterConfig(kind=kind))
    assert torch.equal(encoder(images()).patches, encoder(images()).patches), "no stochastic depth"
    encoder(images()).patches.square().sum().backward()
    assert all(parameter.grad is None for parameter in encoder.parameters())
    grown = [name for name, parameter in adapter.named_parameters() if parameter.grad is not None]
    assert any(float(dict(adapter.named_parameters())[name].grad.abs().sum()) > 0 for name in grown)


@pytest.mark.parametrize("size", ["tiny", "small"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_small_share_of_the_encoder(kind: AdapterKind, size: EncoderSize) -> None:
    encoder = encoder_of(size)
    share = Adapter(encoder, AdapterConfig(kind=kind)).count_parameters() / sum(p.numel() for p in encoder.parameters())
    assert 0.001 < share < 0.05


def test_lora_is_what_the_paper_writes() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(6, 4)
    addition = LowRank(layer, AdapterConfig(rank=2, scale=3.0))
    addition.up.data.normal_()
    given = torch.randn(5, 6)
    expected = given @ (layer.weight + 3.0 * addition.up @ addition.down).T + layer.bias
    assert torch.allclose(layer(given) + addition(given), expected, atol=1e-6)


def test_places_of_lora_are_chosen() -> None:
    encoder = encoder_of()
    attention_only = Adapter(encoder, AdapterConfig(places=("qkv",)))
    assert len(attention_only.additions) == 12
    assert all(name.endswith("/qkv") for name in attention_only.additions)
