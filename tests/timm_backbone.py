"""A backbone as timm would save it: the documented names and shapes of ``vit_tiny_patch16_224``, random numbers."""

from __future__ import annotations

import torch


def timm_vit_tiny(patch: int = 16, size: int = 224, width: int = 192, depth: int = 12) -> dict[str, torch.Tensor]:
    """Its state dict, for RGB images."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + (size // patch) ** 2, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
        "head.weight": (1000, width),
        "head.bias": (1000,),
    }
    for index in range(depth):
        layers = {
            "norm1": (width,),
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "norm2": (width,),
            "mlp.fc1": (4 * width, width),
            "mlp.fc2": (width, 4 * width),
        }
        for layer, shape in layers.items():
            shapes[f"blocks.{index}.{layer}.weight"] = shape
            shapes[f"blocks.{index}.{layer}.bias"] = shape[:1]
    return {name: 0.05 * torch.randn(shape) for name, shape in shapes.items()}
