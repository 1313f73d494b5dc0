"""Deep blocks learn at the full rate, shallow ones more slowly, and no parameter is left out or taken twice."""

import pytest

from echoapex.models.encoder import EncoderConfig, VisionTransformer
from echoapex.tasks.task import LayerDecay, is_matrix, layer_decay_groups


def rates(encoder: VisionTransformer, config: LayerDecay) -> dict[str, tuple[float, float]]:
    names = {id(parameter): name for name, parameter in encoder.named_parameters()}
    found = [
        (names[id(parameter)], (group.learning_rate_factor, group.weight_decay_factor))
        for group in layer_decay_groups(encoder, config)
        for parameter in group.parameters
    ]
    assert len(found) == len(names) == len(dict(found)), "each once"
    return dict(found)


def test_rates_fall_from_the_last_block_to_the_patch_embedding() -> None:
    encoder = VisionTransformer(EncoderConfig(image_size=32))
    found = rates(encoder, LayerDecay(decay=0.9, patch_embedding_factor=0.2))
    for index in range(12):
        assert found[f"blocks.{index}.attention.qkv.weight"][0] == pytest.approx(0.9 ** (11 - index))
    assert found["norm.weight"][0] == 1
    assert found["class_token"][0] == pytest.approx(0.9**12)
    assert found["patch_embedding.weight"][0] == pytest.approx(0.2 * 0.9**12)


def test_only_matrices_decay_and_a_plain_encoder_learns_alike() -> None:
    encoder = VisionTransformer(EncoderConfig(image_size=32))
    found = rates(encoder, LayerDecay())
    assert {rate for rate, _ in found.values()} == {1.0}
    for name, parameter in encoder.named_parameters():
        assert found[name][1] == float(is_matrix(parameter))


def test_a_frozen_parameter_is_left_out() -> None:
    encoder = VisionTransformer(EncoderConfig(image_size=32))
    encoder.patch_embedding.requires_grad_(False)
    learned = [parameter for group in layer_decay_groups(encoder, LayerDecay()) for parameter in group.parameters]
    assert not any(parameter is encoder.patch_embedding.weight for parameter in learned)
