"""Our encoder against the implementations it takes weights from: same weights, same tokens."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
import torch
from torch import nn

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers")

from echoapex.models.attention import interpolate_positions  # noqa: E402
from echoapex.models.encoder import Tokens, VisionTransformer  # noqa: E402
from echoapex.models.pretrained import build_pretrained  # noqa: E402

TINY = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3}
TOLERANCE = 1e-4


def with_trained_looking_weights(model: nn.Module) -> nn.Module:
    """Fresh weights hide mistakes: zero biases, equal gains. Give every tensor noise, and LayerScale gains near one."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if "norm" in name or "layer_scale" in name:
                weight.copy_(0.1 * noise + (0.0 if name.endswith("bias") else 1.0))
            else:
                weight.copy_((0.05 if weight.ndim < 4 else 0.03) * noise)
    return model.eval()


def build_oracle(kind: str, patch: int, side: int) -> nn.Module:
    torch.manual_seed(0)
    shape: dict[str, Any] = {**TINY, "patch_size": patch, "image_size": patch * side}
    if kind == "dinov2":
        model = transformers.Dinov2Model(transformers.Dinov2Config(**shape))
    elif kind == "dinov2_registers":
        model = transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(**shape))
    else:
        config = transformers.DINOv3ViTConfig(**shape, intermediate_size=768, num_register_tokens=4)
        model = transformers.DINOv3ViTModel(config)
    return with_trained_looking_weights(model)


def assert_same_tokens(ours: Tokens, theirs: torch.Tensor) -> None:
    registers = ours.registers.shape[1]
    assert theirs.std() > 0.3, "the oracle's tokens hardly vary: the comparison would be vacuous"
    torch.testing.assert_close(ours.class_token, theirs[:, 0], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(ours.registers, theirs[:, 1 : 1 + registers], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(ours.patches, theirs[:, 1 + registers :], atol=TOLERANCE, rtol=0)


CASES = [("dinov2", 14, {"position_interpolation": "plain"}), ("dinov2_registers", 14, {}), ("dinov3", 16, {})]


@pytest.mark.parametrize(("kind", "patch", "overrides"), CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("grid", [(5, 5), (7, 7), (3, 6)], ids=["trained_size", "larger", "oblong"])
@torch.no_grad()
def test_tokens_agree_with_transformers(
    kind: str, patch: int, overrides: dict[str, Any], grid: tuple[int, int]
) -> None:
    oracle = build_oracle(kind, patch, side=5)
    encoder = build_pretrained(oracle.state_dict(), kind, **overrides)
    images = torch.randn(2, 3, grid[0] * patch, grid[1] * patch)
    assert_same_tokens(encoder(images), oracle(images).last_hidden_state)


@pytest.mark.parametrize(("kind", "patch", "overrides"), CASES, ids=[case[0] for case in CASES])
@torch.no_grad()
def test_masked_patches_and_inner_blocks_agree_with_transformers(
    kind: str, patch: int, overrides: dict[str, Any]
) -> None:
    oracle = build_oracle(kind, patch, side=4)
    encoder = build_pretrained(oracle.state_dict(), kind, **overrides)
    images = torch.randn(2, 3, 4 * patch, 4 * patch)
    mask = torch.rand(2, 16) < 0.5
    assert_same_tokens(encoder(images, mask), oracle(images, bool_masked_pos=mask).last_hidden_state)
    states = oracle(images, output_hidden_states=True).hidden_states
    norm = oracle.norm if kind == "dinov3" else oracle.layernorm
    for block, tokens in zip((2, 7), encoder.forward_blocks(images, [2, 7]), strict=True):
        assert_same_tokens(tokens, norm(states[block + 1]))


@torch.no_grad()
def test_older_names_of_the_transformers_port_are_read_too() -> None:
    oracle = build_oracle("dinov2_registers", 14, side=4)
    renames = {
        "attention.q_proj": "attention.attention.query",
        "attention.k_proj": "attention.attention.key",
        "attention.v_proj": "attention.attention.value",
        "attention.o_proj": "attention.output.dense",
    }
    older = {}
    for name, tensor in oracle.state_dict().items():
        for new, old in renames.items():
            name = name.replace(new, old)
        older["dinov2_with_registers." + name] = tensor
    images = torch.randn(1, 3, 56, 56)
    assert_same_tokens(build_pretrained(older, "older")(images), oracle(images).last_hidden_state)


def as_original_names(encoder: VisionTransformer, *, dinov3: bool = False) -> dict[str, torch.Tensor]:
    """Our weights under the names of the DINOv2 and DINOv3 repositories, written down from their source."""
    ours = encoder.state_dict()
    names = {
        "cls_token": "class_token",
        "patch_embed.proj.weight": "patch_embedding.weight",
        "patch_embed.proj.bias": "patch_embedding.bias",
        "norm.weight": "norm.weight",
        "norm.bias": "norm.bias",
        ("storage_tokens" if dinov3 else "register_tokens"): "register_tokens",
    }
    for index in range(12):
        theirs, mine = f"blocks.{index}.", f"blocks.{index}."
        pairs = {
            "norm1": "attention_norm",
            "attn.qkv": "attention.qkv",
            "attn.proj": "attention.projection",
            "norm2": "feed_forward_norm",
            "mlp.fc1": "feed_forward.expand",
            "mlp.fc2": "feed_forward.contract",
        }
        for their_part, my_part in pairs.items():
            for kind in ("weight", "bias"):
                names[f"{theirs}{their_part}.{kind}"] = f"{mine}{my_part}.{kind}"
        names[f"{theirs}ls1.gamma"] = f"{mine}attention_scale.gain"
        names[f"{theirs}ls2.gamma"] = f"{mine}feed_forward_scale.gain"
    state = {their_name: ours[my_name] for their_name, my_name in names.items()}
    state["mask_token"] = ours["mask_token"][0]  # (1, width) there
    if not dinov3:
        tables = (ours["position_table.class_position"], ours["position_table.patch_positions"])
        state["pos_embed"] = torch.cat(tables, dim=1)
    return state


@pytest.mark.parametrize("kind", ["dinov2_registers", "dinov3"])
@torch.no_grad()
def test_names_of_the_original_repositories_lead_to_the_same_encoder(kind: str) -> None:
    dinov3 = kind == "dinov3"
    patch = 16 if dinov3 else 14
    oracle = build_oracle(kind, patch, side=4)
    original = as_original_names(build_pretrained(oracle.state_dict(), kind), dinov3=dinov3)
    if dinov3:  # the repository keeps a key bias and a mask that switches it off
        for index in range(12):
            bias = original[f"blocks.{index}.attn.qkv.bias"] = original[f"blocks.{index}.attn.qkv.bias"].clone()
            bias[192:384] = 7.0
            mask = original[f"blocks.{index}.attn.qkv.bias_mask"] = torch.ones(576)
            mask[192:384] = 0.0
        original["rope_embed.periods"] = torch.ones(16)
    images = torch.randn(1, 3, 4 * patch, 4 * patch)
    wrapped = {f"teacher.backbone.{name}": tensor for name, tensor in original.items()}
    assert_same_tokens(build_pretrained(wrapped, kind)(images), oracle(images).last_hidden_state)


def test_interpolation_with_offset_is_the_one_of_the_original_dinov2() -> None:
    """DINOv2 without registers: the scale is (new + 0.1) / old, as its ``interpolate_pos_encoding`` computes it."""
    table = torch.randn(1, 37 * 37, 8)
    picture = table.reshape(1, 37, 37, 8).permute(0, 3, 1, 2)
    scale = (float((7 + 0.1) / math.sqrt(37 * 37)), float((16 + 0.1) / math.sqrt(37 * 37)))
    original = nn.functional.interpolate(picture, scale_factor=scale, mode="bicubic").permute(0, 2, 3, 1)
    ours = interpolate_positions(table, (37, 37), (7, 16), "dinov2")
    torch.testing.assert_close(ours, original.reshape(1, -1, 8))
    plain = interpolate_positions(table, (37, 37), (7, 16), "plain")
    smooth = interpolate_positions(table, (37, 37), (7, 16), "dinov2_registers")
    assert (plain - ours).norm() / ours.norm() > 0.05, "the offset matters"
    assert (smooth - ours).norm() / ours.norm() > 0.3, "antialias matters more"
