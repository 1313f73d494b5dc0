"""Pretraining goes on from nothing, from our bundles, and from backbones of others, whose RGB weights are made grey."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm_backbone import timm_vit_tiny

from echoapex.models.encoder import EncoderConfig
from echoapex.models.pretrained import IMAGENET, load_pretrained
from echoapex.models.weights_file import WeightsError
from echoapex.recipes.pretrain import NOMINAL_FRAME, starting_encoder

WANTED = EncoderConfig(image_size=48, drop_path=0.2)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("backbone") / "vit_tiny.safetensors"
    save_file(timm_vit_tiny(), path)
    return path


def test_a_public_backbone_sees_a_grey_frame_as_the_same_frame_in_rgb(backbone: Path) -> None:
    encoder, rgb = starting_encoder(WANTED, backbone), load_pretrained(backbone)
    assert encoder.config.in_channels == 1 and encoder.config.drop_path == 0.2 and encoder.training
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    frame = torch.rand(2, 1, 224, 224)
    grey = (frame - NOMINAL_FRAME.mean[0]) / NOMINAL_FRAME.std[0]
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET.mean, IMAGENET.std))
    with torch.no_grad():
        ours = encoder.eval()(grey)
        theirs = rgb.eval()((frame - mean) / std)
    torch.testing.assert_close(ours.patches, theirs.patches, rtol=1e-3, atol=1e-3)


def test_a_mask_token_of_zeros_is_woken(backbone: Path) -> None:
    assert not load_pretrained(backbone).mask_token.any()
    assert starting_encoder(WANTED, backbone).mask_token.any()


def test_our_own_encoder_keeps_its_weights_at_another_image_size(saved_set: Path) -> None:
    encoder = starting_encoder(WANTED, saved_set / "encoder")
    tokens = encoder.eval()(torch.zeros(1, 1, 64, 64))
    assert tokens.grid == (4, 4) and encoder.config.drop_path == 0.2


def test_another_size_or_patch_is_refused_with_a_remedy(backbone: Path) -> None:
    for wanted in (EncoderConfig(size="small"), EncoderConfig(patch_size=14)):
        with pytest.raises(WeightsError, match=r"set task\.encoder\.size and task\.encoder\.patch_size"):
            starting_encoder(wanted, backbone)


def test_without_a_start_the_weights_are_fresh() -> None:
    torch.manual_seed(3)
    first = starting_encoder(WANTED, None)
    second = starting_encoder(WANTED, None)
    assert first.config == WANTED
    assert not torch.equal(first.blocks[0].attention.qkv.weight, second.blocks[0].attention.qkv.weight)
