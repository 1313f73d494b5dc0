import torch

from echoapex.models.attention import Block, DropPath


def test_drop_path_drops_whole_images_and_keeps_the_expectation() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25).train()
    dropped = drop(torch.ones(4000, 2, 3))
    per_image = dropped.reshape(4000, -1)
    assert set(per_image.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert (per_image.amin(1) == per_image.amax(1)).all()
    assert abs(float(dropped.mean()) - 1) < 0.03


def test_drop_path_does_nothing_in_evaluation() -> None:
    tokens = torch.randn(4, 2, 3)
    assert DropPath(0.9).eval()(tokens) is tokens


def test_a_block_with_gains_near_zero_is_nearly_the_identity() -> None:
    tokens = torch.randn(2, 5, 24)
    quiet = Block(24, heads=3, layer_scale=1e-6, drop_path=0.0, norm_epsilon=1e-6)
    loud = Block(24, heads=3, layer_scale=None, drop_path=0.0, norm_epsilon=1e-6)
    torch.testing.assert_close(quiet(tokens), tokens, atol=1e-4, rtol=0)
    assert (loud(tokens) - tokens).abs().max() > 0.1
