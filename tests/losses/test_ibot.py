"""The iBOT loss against a plain loop over images, and closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from echoapex.losses.self_distillation import ibot_loss


def example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[0, :3] = mask[1, 5] = mask[3, 1:5] = True
    student = torch.randn(8, 5, generator=generator)
    return student, torch.randn(8, 5, generator=generator).softmax(-1), mask


def test_it_is_the_mean_over_images_of_the_mean_over_their_masked_patches() -> None:
    student, teacher, mask = example()
    each = -(teacher * torch.log_softmax(student / 0.1, dim=-1)).sum(-1)
    by_image = [each[0:3].mean(), each[3:4].mean(), torch.tensor(0.0), each[4:8].mean()]
    torch.testing.assert_close(ibot_loss(student, teacher, mask), torch.stack(by_image).mean())


def test_two_halves_average_to_the_whole() -> None:
    student, teacher, mask = example()
    halves = ibot_loss(student[:4], teacher[:4], mask[:2]), ibot_loss(student[4:], teacher[4:], mask[2:])
    torch.testing.assert_close(torch.stack(halves).mean(), ibot_loss(student, teacher, mask))


def test_a_student_without_opinion_pays_the_logarithm_of_the_prototypes() -> None:
    mask = torch.ones(2, 3, dtype=torch.bool)
    loss = ibot_loss(torch.zeros(6, 9), torch.eye(9)[:6], mask)
    assert loss.item() == pytest.approx(math.log(9), abs=1e-5)


def test_without_masked_patches_loss_and_gradient_are_zero() -> None:
    student = torch.zeros(0, 5, requires_grad=True)
    loss = ibot_loss(student, torch.zeros(0, 5), torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert student.grad is not None


def test_half_precision_is_computed_in_single() -> None:
    student, teacher, mask = example()
    student = student.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = ibot_loss(student, teacher, mask)
    torch.testing.assert_close(loss, ibot_loss(student.float(), teacher, mask), rtol=1e-6, atol=0)


def test_a_mask_of_another_batch_is_refused() -> None:
    student, teacher, mask = example()
    with pytest.raises(ValueError, match="the mask hides 4 patches, but 8 rows were given"):
        ibot_loss(student, teacher, mask[:2])
