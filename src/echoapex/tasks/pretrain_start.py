"""Which encoder pretraining goes on from: a fresh one, one of our bundles, or a public backbone in safetensors."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from echoapex.models.bundle import build_encoder_from, load_bundle
from echoapex.models.encoder import EncoderConfig, VisionTransformer
from echoapex.models.pretrained import IMAGENET, Normalisation, fold_to_grey, load_pretrained
from echoapex.models.weights_file import WeightsError, load_weights

NOMINAL_FRAME = Normalisation((0.17,), (0.2,))
"""Mean and standard deviation of a prepared frame, in [0, 1], that stand for all of them when weights that expect fixed
constants go on with frames that are standardised one by one."""


def starting_encoder(wanted: EncoderConfig, start: Path | None, hides_patches: bool = True) -> VisionTransformer:
    """The encoder to train, in training mode, all of it trainable.

    With ``start`` the architecture is that of the weights; ``wanted`` must have the same size and patch, and gives
    stochastic depth. RGB backbones are folded to grey.

    Args:
        wanted: the architecture of the recipe.
        start: directory of an encoder bundle, or a safetensors file; None for fresh weights.
        hides_patches: whether training will hide patches, and so needs a mask token that is told from black.

    Raises:
        BundleError: the bundle is damaged or holds no encoder.
        WeightsError: the file holds no encoder that we know, or one of another size.
    """
    if start is None:
        return VisionTransformer(wanted)
    found = load_pretrained(start) if start.is_file() else build_encoder_from(load_bundle(start))
    config = found.config
    if (config.size, config.patch_size) != (wanted.size, wanted.patch_size):
        raise WeightsError(
            f"{start}: is a {config.size} encoder with patches of {config.patch_size}, the recipe wants {wanted.size} "
            f"with {wanted.patch_size}; set task.encoder.size and task.encoder.patch_size to those of the weights"
        )
    state = found.state_dict()
    if config.in_channels == 3:
        state = fold_to_grey(state, IMAGENET, NOMINAL_FRAME)
    elif not start.is_file():
        card = load_bundle(start).card.preprocessing
        if card.rule == "fixed":
            state = fold_to_grey(state, Normalisation((card.mean,), (card.std,)), NOMINAL_FRAME)
    encoder = VisionTransformer(config.model_copy(update={"in_channels": 1, "drop_path": wanted.drop_path}))
    load_weights(encoder, state, start)
    if hides_patches:
        _wake_mask_token(encoder.mask_token)
    return encoder.requires_grad_(True).train()


@torch.no_grad()
def _wake_mask_token(token: nn.Parameter) -> None:
    """Backbones that never hid a patch have a mask token of zeros; a small random one is told from a black patch."""
    if not token.any():
        nn.init.trunc_normal_(token, std=0.02)
