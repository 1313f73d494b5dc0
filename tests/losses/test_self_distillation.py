"""The DINO loss against two plain loops over the pairs, and closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from echoapex.losses.self_distillation import dino_loss


def test_it_is_the_mean_over_the_pairs_of_different_crops() -> None:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(5, 3, 7, generator=generator)
    teacher = torch.randn(2, 3, 7, generator=generator).softmax(-1)
    pairs = []
    for t in range(2):
        for s in range(5):
            if s != t:
                log_probabilities = torch.log_softmax(student[s] / 0.1, dim=-1)
                pairs.append(-(teacher[t] * log_probabilities).sum(-1).mean())
    torch.testing.assert_close(dino_loss(student, teacher), torch.stack(pairs).mean())


def test_a_student_without_opinion_pays_the_logarithm_of_the_prototypes() -> None:
    teacher = torch.eye(8)[torch.tensor([[1, 2], [3, 4]])]
    assert dino_loss(torch.zeros(4, 2, 8), teacher).item() == pytest.approx(math.log(8), abs=1e-5)


def test_a_crop_is_not_compared_with_itself() -> None:
    """Students that copy the other global crop are right; those that copy their own are wrong."""
    teacher = torch.eye(4)[torch.tensor([[0], [1]])]
    crossed = dino_loss(10 * teacher.flip(0), teacher)
    assert crossed.item() == pytest.approx(0, abs=1e-6)
    assert dino_loss(10 * teacher, teacher).item() > 50


def test_the_gradient_is_the_difference_of_the_assignments() -> None:
    student = torch.zeros(2, 1, 3, requires_grad=True)
    teacher = torch.tensor([[[0.2, 0.3, 0.5]], [[0.6, 0.3, 0.1]]])
    dino_loss(student, teacher, temperature=0.5).backward()
    expected = (torch.full((2, 1, 3), 1 / 3) - teacher.flip(0)) / 0.5 / 2
    torch.testing.assert_close(student.grad, expected)


def test_half_precision_is_computed_in_single() -> None:
    student, teacher = torch.randn(3, 2, 50).bfloat16(), torch.full((2, 2, 50), 0.02)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = dino_loss(student, teacher)
    torch.testing.assert_close(loss, dino_loss(student.float(), teacher), rtol=1e-6, atol=0)


def test_one_crop_makes_no_pair() -> None:
    with pytest.raises(ValueError, match="1 student crops and 1 teacher crops make no pair"):
        dino_loss(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3))
