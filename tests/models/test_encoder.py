import pytest
import torch

from echoapex.config import ConfigError, build_config
from echoapex.models.encoder import EncoderConfig, VisionTransformer


@pytest.fixture(scope="module")
def encoder() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(EncoderConfig(image_size=64)).eval()


@torch.no_grad()
def test_any_size_in_whole_patches_gives_its_grid(encoder: VisionTransformer) -> None:
    for height, width in ((64, 64), (112, 48), (16, 160)):
        tokens = encoder(torch.randn(2, 1, height, width))
        assert tokens.grid == (height // 16, width // 16)
        assert tokens.patches.shape == (2, height * width // 256, 192)
        assert tokens.registers.shape == (2, 4, 192)


@torch.no_grad()
def test_tokens_leave_through_the_final_norm(encoder: VisionTransformer) -> None:
    tokens = encoder(torch.randn(2, 1, 64, 64))
    torch.testing.assert_close(tokens.patches.mean(-1), torch.zeros(2, 16), atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens.patches.var(-1, correction=0), torch.ones(2, 16), atol=1e-3, rtol=0)


@torch.no_grad()
def test_blocks_come_in_the_order_asked_and_the_last_is_the_output(encoder: VisionTransformer) -> None:
    images = torch.randn(2, 1, 64, 64)
    last, early, again = encoder.forward_blocks(images, [11, 3, 3])
    torch.testing.assert_close(last.patches, encoder(images).patches)
    torch.testing.assert_close(early.patches, again.patches)
    assert (early.patches - last.patches).abs().max() > 0.01


@pytest.mark.parametrize("blocks", [[], [12], [-1]])
def test_blocks_that_do_not_exist_are_refused(encoder: VisionTransformer, blocks: list[int]) -> None:
    with pytest.raises(ValueError, match="indices from 0 to 11"):
        encoder.forward_blocks(torch.zeros(1, 1, 32, 32), blocks)


@torch.no_grad()
def test_what_is_masked_cannot_be_seen(encoder: VisionTransformer) -> None:
    images = torch.randn(1, 1, 64, 64)
    changed = images.clone()
    changed[:, :, 16:32, 32:48] += 5  # patch 1 * 4 + 2
    mask = torch.zeros(1, 16, dtype=torch.bool)
    mask[0, 6] = True
    torch.testing.assert_close(encoder(images, mask).patches, encoder(changed, mask).patches)
    assert (encoder(images).patches - encoder(changed).patches).abs().max() > 0.01
    assert (encoder(images, mask).patches - encoder(images).patches).abs().max() > 0.01


@torch.no_grad()
def test_positions_tell_patches_apart(encoder: VisionTransformer) -> None:
    rotary = VisionTransformer(EncoderConfig(position="rotary")).eval()
    images = torch.zeros(1, 1, 64, 64)
    images[:, :, :16, :16] = 3
    moved = images.roll((32, 16), dims=(2, 3))
    for model in (encoder, rotary):
        here, there = model(images).as_map(), model(moved).as_map().roll((-2, -1), dims=(2, 3))
        assert (here - there).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 64, 64), r"must be \(batch, 1, height, width\)"),
        ((1, 1, 64, 60), "64 x 60 pixels is not a whole number of patches of 16"),
        ((1, 1, 0, 64), "0 x 64"),
    ],
)
def test_images_that_do_not_fit_are_refused(encoder: VisionTransformer, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoder(torch.zeros(shape))


def test_a_mask_of_another_grid_is_refused(encoder: VisionTransformer) -> None:
    with pytest.raises(ValueError, match="the patch mask has shape"):
        encoder(torch.zeros(1, 1, 64, 64), torch.zeros(1, 9, dtype=torch.bool))


def test_a_configuration_between_patches_names_a_size_that_works() -> None:
    with pytest.raises(ConfigError, match="use 98, for example"):
        build_config(EncoderConfig, {"patch_size": 14, "image_size": 100})


def test_early_blocks_are_dropped_less_often() -> None:
    rates = [block.drop_path.probability for block in VisionTransformer(EncoderConfig(drop_path=0.22)).blocks]
    assert rates[0] == 0
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.22)


@torch.no_grad()
def test_bf16_stays_near_float32(encoder: VisionTransformer) -> None:
    images = torch.randn(2, 1, 64, 64)
    exact = encoder(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = encoder(images)
    likeness = torch.nn.functional.cosine_similarity(exact.patches, rounded.patches.float(), dim=-1)
    assert likeness.min() > 0.99


def test_a_token_subset_has_the_tokens_and_gradients_of_the_whole() -> None:
    subset = torch.zeros(3, 9, dtype=torch.bool)
    subset[0, 2:5] = subset[2, 8] = True
    images = torch.randn(3, 1, 48, 48, generator=torch.Generator().manual_seed(1))
    found, others = {}, {}
    for alone in (True, False):
        torch.manual_seed(0)
        encoder = VisionTransformer(EncoderConfig(image_size=48, layer_scale=1.0, drop_path=0.5)).train()
        tokens = encoder(images, token_subset=subset if alone else None)
        (tokens.class_token.square().sum() + tokens.patches[subset].sin().sum()).backward()
        gradients = [p.grad for p in encoder.parameters() if p.grad is not None]
        found[alone] = [tokens.class_token, tokens.patches[subset], *gradients]
        others[alone] = tokens.patches[~subset]
    for own, whole in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(own, whole, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(others[True], others[False], atol=1e-3), "the last block has left them out"
