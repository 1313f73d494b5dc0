"""Every architecture passes the same battery: sizes x patches x registers, tables and rotary positions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from echoapex.models.bundle import Card, build_encoder_from, load_bundle, save_bundle
from echoapex.models.encoder import DIMENSIONS, EncoderConfig, VisionTransformer

SMALL_ENOUGH = [
    EncoderConfig(size=size, patch_size=patch, registers=registers, position=position, image_size=4 * patch)
    for size, patch, registers, position in itertools.product(("tiny", "small"), (14, 16), (0, 4), ("table", "rotary"))
]
LARGE = [
    EncoderConfig(size=size, patch_size=patch, image_size=224)
    for size, patch in itertools.product(("base", "large"), (14, 16))
]
PUBLISHED_COUNTS = {"tiny": 5_717_416, "small": 22_050_664, "base": 86_567_656, "large": 304_326_632}
"""Parameters of timm's ``vit_*_patch16_224`` with a 1000-way head and three channels."""


def name_of(config: EncoderConfig) -> str:
    return f"{config.size}-{config.patch_size}-r{config.registers}-{config.position}"


def random_images(config: EncoderConfig, count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 1, 3 * config.patch_size, 4 * config.patch_size, generator=generator)


@pytest.fixture(params=SMALL_ENOUGH, ids=name_of)
def config(request: pytest.FixtureRequest) -> EncoderConfig:
    chosen: EncoderConfig = request.param
    return chosen


def test_forward_gives_finite_tokens_of_the_promised_shapes(config: EncoderConfig) -> None:
    with torch.inference_mode():
        tokens = VisionTransformer(config).eval()(random_images(config))
    assert tokens.grid == (3, 4)
    assert tokens.class_token.shape == (2, config.width)
    assert tokens.registers.shape == (2, config.registers, config.width)
    assert tokens.patches.shape == (2, 12, config.width)
    assert all(part.isfinite().all() for part in (tokens.class_token, tokens.registers, tokens.patches))
    assert (tokens.patches[0] - tokens.patches[1]).abs().max() > 0.01, "different images, different tokens"


def test_gradients_reach_every_trainable_parameter(config: EncoderConfig) -> None:
    encoder = VisionTransformer(config).train()
    images = random_images(config)
    mask = torch.zeros(2, 12, dtype=torch.bool)
    mask[:, ::3] = True
    tokens = encoder(images, mask)
    # a random read-out: the plain sum of normed tokens is constant and has no gradient at all
    parts = torch.cat((tokens.class_token[:, None], tokens.registers, tokens.patches), dim=1)
    (parts * torch.randn_like(parts)).sum().backward()
    untouched = [
        name
        for name, weight in encoder.named_parameters()
        if weight.numel() and (weight.grad is None or not weight.grad.isfinite().all() or not weight.grad.any())
    ]
    assert untouched == []


def test_saving_and_loading_changes_nothing_and_the_card_agrees(
    config: EncoderConfig, tmp_path: Path, build_card: Callable[..., Card]
) -> None:
    encoder = VisionTransformer(config).eval()
    save_bundle(tmp_path / "encoder", encoder, build_card(architecture=config.model_dump(mode="json")))
    bundle = load_bundle(tmp_path / "encoder")
    again = build_encoder_from(bundle)
    assert again.config == config
    assert not again.training
    assert bundle.card.architecture["size"] == config.size
    assert bundle.state.keys() == encoder.state_dict().keys()
    with torch.inference_mode():
        before, after = encoder(random_images(config)), again(random_images(config))
    assert torch.equal(before.patches, after.patches)
    assert torch.equal(before.class_token, after.class_token)


def test_the_same_seed_gives_the_same_numbers(config: EncoderConfig) -> None:
    config = config.model_copy(update={"drop_path": 0.3})

    def step() -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(5)
        encoder = VisionTransformer(config).train()
        tokens = encoder(random_images(config))
        (tokens.patches * torch.linspace(-1, 1, config.width)).sum().backward()
        gradient = encoder.patch_embedding.weight.grad
        assert gradient is not None
        return tokens.patches.detach(), gradient

    for first, second in zip(step(), step(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("config", LARGE, ids=name_of)
def test_large_architectures_have_the_right_shapes(config: EncoderConfig) -> None:
    with torch.device("meta"):
        encoder = VisionTransformer(config)
        side = 16 * config.patch_size
        first, last = encoder.forward_blocks(torch.zeros(2, 1, side, side), [0, config.depth - 1])
    assert last.patches.shape == first.patches.shape == (2, 256, config.width)
    assert last.registers.shape == (2, 4, config.width)


def test_base_really_runs() -> None:
    config = EncoderConfig(size="base", image_size=32)
    with torch.inference_mode():
        assert VisionTransformer(config).eval()(torch.zeros(1, 1, 32, 32)).patches.isfinite().all()


@pytest.mark.parametrize("size", DIMENSIONS)
def test_parameter_counts_are_those_of_the_literature(size: str) -> None:
    config = EncoderConfig(size=size, registers=0, layer_scale=None, in_channels=3)
    with torch.device("meta"):
        count = sum(weight.numel() for weight in VisionTransformer(config).parameters())
    head = 1000 * (config.width + 1)
    mask_token = config.width
    assert count - mask_token + head == PUBLISHED_COUNTS[size]
