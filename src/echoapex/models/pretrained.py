"""Loads encoders trained by others: DINOv2, DINOv3 and timm ViT weights, under our parameter names.

Each format is a table of rules from its names to ours. A tensor that matches no rule is an error, so that no weights
are lost silently.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from echoapex.config import build_config
from echoapex.models.encoder import DIMENSIONS, EncoderConfig, EncoderSize, VisionTransformer
from echoapex.models.weights_file import WeightsError, load_weights, read_safetensors

PretrainedFormat = Literal["dinov2", "dinov3", "timm", "transformers"]

State = dict[str, Tensor]

_WRAPPERS = re.compile(r"^(?:module\.|teacher\.|student\.|backbone\.|dinov2\.|dinov2_with_registers\.|dinov3_vit\.)+")

_ORIGINAL_BLOCK = r"blocks\.(?:\d+\.)?(\d+)\."  # a chunked DINOv2 checkpoint counts chunk.block, block throughout
_ORIGINAL = {
    r"cls_token": "class_token",
    r"mask_token": "mask_token",
    r"(?:register_tokens|storage_tokens|reg_token)": "register_tokens",
    r"pos_embed": "positions",
    r"patch_embed\.proj\.(weight|bias)": r"patch_embedding.\1",
    _ORIGINAL_BLOCK + r"norm1\.(weight|bias)": r"blocks.\1.attention_norm.\2",
    _ORIGINAL_BLOCK + r"attn\.qkv\.(weight|bias)": r"blocks.\1.attention.qkv.\2",
    _ORIGINAL_BLOCK + r"attn\.proj\.(weight|bias)": r"blocks.\1.attention.projection.\2",
    _ORIGINAL_BLOCK + r"ls1\.gamma": r"blocks.\1.attention_scale.gain",
    _ORIGINAL_BLOCK + r"norm2\.(weight|bias)": r"blocks.\1.feed_forward_norm.\2",
    _ORIGINAL_BLOCK + r"mlp\.fc1\.(weight|bias)": r"blocks.\1.feed_forward.expand.\2",
    _ORIGINAL_BLOCK + r"mlp\.fc2\.(weight|bias)": r"blocks.\1.feed_forward.contract.\2",
    _ORIGINAL_BLOCK + r"ls2\.gamma": r"blocks.\1.feed_forward_scale.gain",
    r"norm\.(weight|bias)": r"norm.\1",
}
_ORIGINAL_IGNORED = r"head\..*|rope_embed\.periods|.*attn\.qkv\.bias_mask"

_PORT_BLOCK = r"(?:encoder\.|model\.)?layer\.(\d+)\."
_TRANSFORMERS = {
    r"embeddings\.cls_token": "class_token",
    r"embeddings\.mask_token": "mask_token",
    r"embeddings\.register_tokens": "register_tokens",
    r"embeddings\.position_embeddings": "positions",
    r"embeddings\.patch_embeddings\.(?:projection\.)?(weight|bias)": r"patch_embedding.\1",
    _PORT_BLOCK + r"norm1\.(weight|bias)": r"blocks.\1.attention_norm.\2",
    _PORT_BLOCK + r"attention\.(?:attention\.)?(q|k|v)(?:_proj|uery|ey|alue)\.(weight|bias)": r"blocks.\1.\2.\3",
    _PORT_BLOCK + r"attention\.(?:o_proj|output\.dense)\.(weight|bias)": r"blocks.\1.attention.projection.\2",
    _PORT_BLOCK + r"layer_scale1\.lambda1": r"blocks.\1.attention_scale.gain",
    _PORT_BLOCK + r"norm2\.(weight|bias)": r"blocks.\1.feed_forward_norm.\2",
    _PORT_BLOCK + r"mlp\.(?:fc1|up_proj)\.(weight|bias)": r"blocks.\1.feed_forward.expand.\2",
    _PORT_BLOCK + r"mlp\.(?:fc2|down_proj)\.(weight|bias)": r"blocks.\1.feed_forward.contract.\2",
    _PORT_BLOCK + r"layer_scale2\.lambda1": r"blocks.\1.feed_forward_scale.gain",
    r"(?:layernorm|norm)\.(weight|bias)": r"norm.\1",
}
_TRANSFORMERS_IGNORED = r"classifier\..*|rope_embeddings\..*"

KEY_MAPS: dict[PretrainedFormat, tuple[dict[str, str], str]] = {
    "dinov2": (_ORIGINAL, _ORIGINAL_IGNORED),
    "dinov3": (_ORIGINAL, _ORIGINAL_IGNORED),
    "timm": (_ORIGINAL, _ORIGINAL_IGNORED),
    "transformers": (_TRANSFORMERS, _TRANSFORMERS_IGNORED),
}
"""For each format the rules from its names to ours, and the names that may be left behind."""


class Normalisation(NamedTuple):
    """Per-channel mean and standard deviation of pixels in [0, 1], as an encoder was trained with."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""What DINOv2, DINOv3 and most timm weights expect."""


def load_pretrained(path: Path, **overrides: object) -> VisionTransformer:
    """Build the encoder that a safetensors file of another project holds, in evaluation mode.

    Size, patch, channels, registers, LayerScale and position are read off the tensors; what cannot be seen in them
    (``position_interpolation``, ``norm_epsilon``, ``rotary_base``, ``drop_path``) follows the format.

    Args:
        path: a ``.safetensors`` file.
        overrides: fields of :class:`EncoderConfig` to set otherwise.

    Raises:
        WeightsError: the file cannot be read, or its tensors are no such encoder, all mismatches named.
        ConfigError: an override is no field of the configuration, or not valid.
    """
    return build_pretrained(read_safetensors(path), str(path), **overrides)


def build_pretrained(state: Mapping[str, Tensor], source: str, **overrides: object) -> VisionTransformer:
    """As :func:`load_pretrained`, from tensors in memory; ``source`` is named in errors."""
    detected = detect_format(state, source)
    converted = convert_state(state, detected, source)
    config = read_off_config(converted, detected, source)
    config = build_config(EncoderConfig, {**config.model_dump(), **overrides}, source)
    encoder = VisionTransformer(config)
    load_weights(encoder, converted, source)
    return encoder.eval()


def detect_format(state: Mapping[str, Tensor], source: str) -> PretrainedFormat:
    """Which project a state dict comes from, by the names that only it uses.

    Raises:
        WeightsError: it comes from none that we know.
    """
    names = {_WRAPPERS.sub("", name) for name in state}
    if "embeddings.cls_token" in names:
        return "transformers"
    if "cls_token" in names and "patch_embed.proj.weight" in names:
        if "storage_tokens" in names or "pos_embed" not in names:
            return "dinov3"
        return "dinov2" if "mask_token" in names else "timm"
    shown = ", ".join(sorted(state)[:4]) or "nothing"
    raise WeightsError(f"{source}: is no DINOv2, DINOv3 or timm ViT encoder (it holds {shown}, ...)")


def convert_state(state: Mapping[str, Tensor], format: PretrainedFormat, source: str) -> State:
    """The tensors of another project under our names and in our shapes.

    Raises:
        WeightsError: with the names that no rule knows.
    """
    rules, ignored = KEY_MAPS[format]
    converted: State = {}
    unknown: list[str] = []
    for full_name, tensor in state.items():
        name = _WRAPPERS.sub("", full_name)
        target = _translate(name, rules)
        if target in converted:
            raise WeightsError(
                f"{source}: holds {target!r} twice (student and teacher?); keep the tensors of one model"
            )
        if target is not None:
            converted[target] = tensor
        elif re.fullmatch(ignored, name) is None:
            unknown.append(full_name)
    if unknown:
        raise WeightsError(
            f"{source}: no place in a plain ViT for {_listed(unknown)}; SwiGLU variants are not supported"
        )
    if format == "dinov3":
        _drop_masked_biases(state, converted)
    _join_queries_keys_values(converted)
    _split_positions(converted)
    return _complete(converted, source)


def read_off_config(state: Mapping[str, Tensor], format: PretrainedFormat, source: str) -> EncoderConfig:
    """The architecture of a converted state dict.

    Raises:
        WeightsError: it is none of our sizes.
    """
    width, channels, patch, _ = state["patch_embedding.weight"].shape
    depth = 1 + max((int(name.split(".")[1]) for name in state if name.startswith("blocks.")), default=-1)
    sizes: list[EncoderSize] = [
        name for name, known in DIMENSIONS.items() if (known.width, known.depth) == (width, depth)
    ]
    if not sizes or patch not in (14, 16):
        known = ", ".join(f"{name} {size.width} x {size.depth}" for name, size in DIMENSIONS.items())
        raise WeightsError(
            f"{source}: width {width}, depth {depth}, patch {patch} is none of our sizes ({known}; patch 14 or 16)"
        )
    table = state.get("position_table.patch_positions")
    registers = state["register_tokens"].shape[1]
    gain = state.get("blocks.0.attention_scale.gain")
    values: dict[str, object] = {
        "size": sizes[0],
        "patch_size": patch,
        "in_channels": channels,
        "registers": registers,
        "layer_scale": None if gain is None else 1e-5,
        "position": "rotary" if table is None else "table",
        "image_size": (224 // patch if table is None else round(table.shape[1] ** 0.5)) * patch,
        "norm_epsilon": 1e-5 if table is None else 1e-6,
    }
    if format in ("dinov2", "transformers") and registers == 0:
        values["position_interpolation"] = "dinov2"
    return EncoderConfig.model_validate(values)


def fold_to_grey(state: Mapping[str, Tensor], trained: Normalisation, grey: Normalisation) -> State:
    """Let an encoder of RGB images take grey ones, exactly: the same tokens as for the image repeated in R, G and B.

    Args:
        state: converted weights; the patch embedding has three input channels.
        trained: normalisation of the RGB images.
        grey: normalisation of the grey images to come, one channel.

    Returns:
        The weights with a patch embedding of one channel.
    """
    kernel = state["patch_embedding.weight"]
    mean, std = (torch.tensor(values, dtype=torch.float64)[None, :, None, None] for values in trained)
    (grey_mean,), (grey_std,) = grey
    # a normalised grey x is the pixel grey_std * x + grey_mean, which channel c would see as (pixel - mean_c) / std_c
    per_pixel = kernel.double() / std
    folded = grey_std * per_pixel.sum(dim=1, keepdim=True)
    shift = (per_pixel * (grey_mean - mean)).sum(dim=(1, 2, 3))
    bias = state["patch_embedding.bias"].double() + shift
    return {
        **state,
        "patch_embedding.weight": folded.to(kernel.dtype),
        "patch_embedding.bias": bias.to(kernel.dtype),
    }


def _translate(name: str, rules: Mapping[str, str]) -> str | None:
    for pattern, target in rules.items():
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(target)
    return None


def _join_queries_keys_values(state: State) -> None:
    """Three projections become one; a projection without bias has bias zero."""
    for prefix in sorted({name.removesuffix(".q.weight") for name in state if name.endswith(".q.weight")}):
        weights = [state.pop(f"{prefix}.{part}.weight", None) for part in "qkv"]
        complete = [weight for weight in weights if weight is not None]
        if len(complete) < 3:
            continue  # named as missing when the weights are loaded
        biases = [state.pop(f"{prefix}.{part}.bias", torch.zeros_like(complete[0][:, 0])) for part in "qkv"]
        state[f"{prefix}.attention.qkv.weight"] = torch.cat(complete)
        state[f"{prefix}.attention.qkv.bias"] = torch.cat(biases)


def _drop_masked_biases(original: Mapping[str, Tensor], state: State) -> None:
    """DINOv3 stores a bias for the keys that a mask switches off."""
    for name in [name for name in original if name.endswith("attn.qkv.bias_mask")]:
        target = _translate(_WRAPPERS.sub("", name).removesuffix("_mask"), _ORIGINAL)
        if target in state:
            state[target] = torch.where(original[name] == 0, 0.0, state[target])


def _split_positions(state: State) -> None:
    """One table becomes the class token's position, zero where the format has none, and those of the patches."""
    table = state.pop("positions", None)
    if table is None:
        return
    has_class = round((table.shape[1]) ** 0.5) ** 2 != table.shape[1]
    state["position_table.class_position"] = table[:, :1] if has_class else torch.zeros_like(table[:, :1])
    state["position_table.patch_positions"] = table[:, 1:] if has_class else table


def _complete(state: State, source: str) -> State:
    """Fill in what a format may lack without loss: no registers, and a mask token of zeros."""
    needed = ("class_token", "patch_embedding.weight")
    if missing := [name for name in needed if name not in state]:
        raise WeightsError(f"{source}: lacks {', '.join(missing)}; it is no complete encoder")
    token: Float[Tensor, "1 1 width"] = state["class_token"]
    state.setdefault("register_tokens", token[:, :0])
    state["mask_token"] = state.get("mask_token", torch.zeros_like(token)).reshape(token.shape)
    return state


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:8]) + (f" and {len(ordered) - 8} more" if len(ordered) > 8 else "")
