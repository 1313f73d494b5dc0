import math

import pytest
import torch

from echoapex.models.attention import PositionTable, RotaryPosition, interpolate_positions, rotate_patches

RULES = ["dinov2", "dinov2_registers", "plain"]


@pytest.mark.parametrize("rule", RULES)
def test_a_smooth_field_stays_the_same_field_on_another_grid(rule: str) -> None:
    """A position that varies slowly over the image is found again, wherever the patches are now."""

    def field(height: int, width: int) -> torch.Tensor:
        y = (torch.arange(height) + 0.5) / height
        x = (torch.arange(width) + 0.5) / width
        planes = [torch.sin(2 * y)[:, None].expand(-1, width), torch.cos(3 * x)[None].expand(height, -1)]
        return torch.stack(planes, dim=-1).reshape(1, height * width, 2)

    resampled = interpolate_positions(field(16, 16), (16, 16), (10, 13), rule)
    assert (resampled - field(10, 13)).abs().max() < 0.05


@pytest.mark.parametrize("rule", RULES)
def test_the_learned_grid_is_used_untouched_and_keeps_its_precision(rule: str) -> None:
    table = PositionTable(8, side=4, rule=rule)
    torch.nn.init.normal_(table.patch_positions)
    assert table((4, 4)) is table.patch_positions
    table = table.bfloat16()
    assert table((6, 3)).dtype == torch.bfloat16
    assert table((6, 3)).shape == (1, 18, 8)


def test_gradients_flow_through_the_resampled_table() -> None:
    table = PositionTable(8, side=4, rule="dinov2_registers")
    (table((7, 5)) ** 2).sum().backward()
    torch.testing.assert_close(table.patch_positions.grad, torch.zeros(1, 16, 8))
    torch.nn.init.normal_(table.patch_positions)
    (table((7, 5)) ** 2).sum().backward()
    assert (table.patch_positions.grad.abs() > 0).all()


def test_rotated_products_depend_on_the_offset_between_patches_only() -> None:
    rotary = RotaryPosition(16, base=100.0)
    rotation = rotary((6, 6), torch.device("cpu"))
    query, key = torch.randn(16), torch.randn(16)
    everywhere = rotate_patches(query.expand(1, 1, 36, 16), rotation)[0, 0].reshape(6, 6, 16)
    keys = rotate_patches(key.expand(1, 1, 36, 16), rotation)[0, 0].reshape(6, 6, 16)

    def product(at: tuple[int, int], offset: tuple[int, int]) -> float:
        return float(everywhere[at] @ keys[at[0] + offset[0], at[1] + offset[1]])

    assert math.isclose(product((0, 1), (2, 1)), product((3, 4), (2, 1)), abs_tol=1e-4)
    assert not math.isclose(product((0, 1), (2, 1)), product((0, 1), (1, 2)), abs_tol=1e-2)


def test_rotation_keeps_lengths_and_leaves_tokens_without_a_place() -> None:
    rotation = RotaryPosition(16, base=100.0)((3, 4), torch.device("cpu"))
    vectors = torch.randn(2, 3, 5 + 12, 16)
    rotated = rotate_patches(vectors, rotation)
    torch.testing.assert_close(rotated[:, :, :5], vectors[:, :, :5])
    torch.testing.assert_close(rotated.norm(dim=-1), vectors.norm(dim=-1))
    assert (rotated[:, :, 5:] - vectors[:, :, 5:]).abs().max() > 0.1


def test_a_head_that_cannot_be_rotated_is_refused() -> None:
    with pytest.raises(ValueError, match="divisible by 4"):
        RotaryPosition(18, base=100.0)
