"""Key maps of checkpoints, by documented names; numeric parity is in tests/parity."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm_backbone import timm_vit_tiny

from echoapex.config import ConfigError
from echoapex.models.pretrained import (
    IMAGENET,
    Normalisation,
    build_pretrained,
    convert_state,
    detect_format,
    fold_to_grey,
    load_pretrained,
)
from echoapex.models.weights_file import WeightsError


def timm_forward(state: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """The forward pass of timm's plain ViT, written with functions only."""
    functional = torch.nn.functional

    def linear(name: str, tokens: torch.Tensor) -> torch.Tensor:
        return functional.linear(tokens, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name: str, tokens: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(tokens, (192,), state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)

    patches = functional.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=16)
    tokens = patches.flatten(2).transpose(1, 2)
    tokens = torch.cat([state["cls_token"].expand(len(images), -1, -1), tokens], dim=1) + state["pos_embed"]
    for index in range(12):
        block = f"blocks.{index}"
        qkv = linear(f"{block}.attn.qkv", norm(f"{block}.norm1", tokens))
        query, key, value = qkv.reshape(*tokens.shape[:2], 3, 3, 64).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1) / 8).softmax(-1)
        tokens = tokens + linear(f"{block}.attn.proj", (weights @ value).transpose(1, 2).flatten(2))
        hidden = functional.gelu(linear(f"{block}.mlp.fc1", norm(f"{block}.norm2", tokens)))
        tokens = tokens + linear(f"{block}.mlp.fc2", hidden)
    return norm("norm", tokens)


@torch.no_grad()
def test_a_timm_vit_is_read_from_safetensors_and_computes_the_same(tmp_path: Path) -> None:
    state = timm_vit_tiny(size=64)
    state |= {name: 1 + tensor for name, tensor in state.items() if "norm" in name and name.endswith("weight")}
    save_file(state, tmp_path / "vit.safetensors")
    encoder = load_pretrained(tmp_path / "vit.safetensors", drop_path=0.1)
    config = encoder.config
    assert (config.size, config.patch_size, config.image_size, config.in_channels) == ("tiny", 16, 64, 3)
    assert (config.registers, config.layer_scale, config.drop_path) == (0, None, 0.1)
    images = torch.randn(2, 3, 64, 64)
    expected = timm_forward(state, images)
    tokens = encoder(images)
    assert expected.std() > 0.05
    torch.testing.assert_close(tokens.class_token, expected[:, 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(tokens.patches, expected[:, 1:], atol=1e-4, rtol=0)


@torch.no_grad()
def test_folding_to_grey_gives_the_tokens_of_the_repeated_image() -> None:
    state = timm_vit_tiny(size=32)
    converted = convert_state(state, "timm", "vit")
    grey = Normalisation((0.2,), (0.25,))
    folded = fold_to_grey(converted, IMAGENET, grey)
    colour_encoder = build_pretrained(state, "vit")
    grey_encoder = type(colour_encoder)(colour_encoder.config.model_copy(update={"in_channels": 1})).eval()
    grey_encoder.load_state_dict(folded)
    pixels = torch.rand(2, 1, 32, 32)
    mean, std = (torch.tensor(values)[None, :, None, None] for values in IMAGENET)
    theirs = colour_encoder((pixels.expand(-1, 3, -1, -1) - mean) / std)
    ours = grey_encoder((pixels - 0.2) / 0.25)
    torch.testing.assert_close(ours.patches, theirs.patches, atol=1e-4, rtol=0)
    torch.testing.assert_close(ours.class_token, theirs.class_token, atol=1e-4, rtol=0)


def test_formats_are_told_apart_by_their_names() -> None:
    timm = timm_vit_tiny(size=32)
    assert detect_format(timm, "x") == "timm"
    assert detect_format({**timm, "mask_token": timm["cls_token"][0]}, "x") == "dinov2"
    rotary = {name: tensor for name, tensor in timm.items() if name != "pos_embed"}
    assert detect_format({**rotary, "storage_tokens": timm["cls_token"]}, "x") == "dinov3"
    assert detect_format({"dinov2.embeddings.cls_token": timm["cls_token"]}, "x") == "transformers"
    with pytest.raises(
        WeightsError, match=r"resnet: is no DINOv2, DINOv3 or timm ViT encoder \(it holds conv1\.weight"
    ):
        detect_format({"conv1.weight": torch.zeros(1)}, "resnet")


def test_dinov2_without_registers_is_resampled_by_its_own_rule() -> None:
    timm = timm_vit_tiny(patch=14, size=42)
    dinov2 = {**timm, "mask_token": torch.zeros(1, 192)}
    assert build_pretrained(dinov2, "x").config.position_interpolation == "dinov2"
    with_registers = {**dinov2, "register_tokens": torch.randn(1, 4, 192)}
    assert build_pretrained(with_registers, "x").config.position_interpolation == "dinov2_registers"
    assert build_pretrained(timm, "x").config.position_interpolation == "dinov2_registers"


def test_a_position_table_without_class_row_and_chunked_blocks_are_understood() -> None:
    state = timm_vit_tiny(size=32)
    state["pos_embed"] = state["pos_embed"][:, 1:]
    chunked = {name.replace("blocks.", "blocks.0."): tensor for name, tensor in state.items()}
    encoder = build_pretrained(chunked, "x")
    torch.testing.assert_close(encoder.position_table.class_position, torch.zeros(1, 1, 192))
    torch.testing.assert_close(encoder.blocks[7].attention.qkv.weight, state["blocks.7.attn.qkv.weight"])


def test_mismatches_are_all_listed() -> None:
    state = timm_vit_tiny(size=32)
    del state["blocks.3.attn.qkv.bias"]
    state["blocks.4.norm1.weight"] = torch.zeros(7)
    with pytest.raises(WeightsError) as caught:
        build_pretrained(state, "vit.safetensors")
    assert "missing: blocks.3.attention.qkv.bias" in str(caught.value)
    assert "blocks.4.attention_norm.weight is (7,), the model has (192,)" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks.0.mlp.w12.weight": torch.zeros(1)}, r"no place in a plain ViT for blocks\.0\.mlp\.w12\.weight"),
        ({"teacher.cls_token": torch.zeros(1, 1, 192)}, "holds 'class_token' twice"),
        (
            {"patch_embed.proj.weight": torch.zeros(200, 3, 16, 16)},
            "width 200, depth 12, patch 16 is none of our sizes",
        ),
        ({"patch_embed.proj.weight": torch.zeros(192, 3, 8, 8)}, "patch 8 is none of our sizes"),
    ],
)
def test_what_we_cannot_build_is_refused(changes: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        build_pretrained({**timm_vit_tiny(size=32), **changes}, "vit")


def test_a_misspelt_override_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'drop_path'"):
        build_pretrained(timm_vit_tiny(size=32), "vit", drop_paht=0.1)
