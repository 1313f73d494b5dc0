from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal
from torch.nn import functional

from echoapex.losses.supervised import (
    dice_loss,
    ef_loss,
    gaussian_target,
    heatmap_loss,
    iou_loss,
    mask_loss,
    pixel_loss,
    smoothed_cross_entropy,
)
from echoapex.models.decoders.spatiotemporal import ClipPrediction


@pytest.fixture(autouse=True)
def _same_seed() -> None:
    torch.manual_seed(0)


def squares(*sides: int, size: int = 16) -> torch.Tensor:
    """One image with one square mask per prompt, anchored at the first pixel."""
    masks = torch.zeros(1, len(sides), size, size)
    for prompt, side in enumerate(sides):
        masks[0, prompt, :side, :side] = 1
    return masks


def sure(masks: torch.Tensor) -> torch.Tensor:
    return 40 * masks - 20


class TestSmoothedCrossEntropy:
    def test_it_is_the_definition(self) -> None:
        logits, labels = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
        target = 0.8 * functional.one_hot(labels, 4) + 0.2 / 4
        expected = -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
        torch.testing.assert_close(smoothed_cross_entropy(logits, labels, 0.2), expected)

    def test_unknown_labels_do_not_count(self) -> None:
        logits = torch.randn(3, 4)
        some = smoothed_cross_entropy(logits, torch.tensor([2, -1, 0]))
        torch.testing.assert_close(some, smoothed_cross_entropy(logits[[0, 2]], torch.tensor([2, 0])))

    def test_an_empty_batch_has_no_loss_and_a_gradient(self) -> None:
        logits = torch.zeros(0, 4, requires_grad=True)
        loss = smoothed_cross_entropy(logits, torch.zeros(0, dtype=torch.long))
        loss.backward()
        assert loss.item() == 0


class TestMasks:
    def test_dice_of_known_squares(self) -> None:
        predicted, truth = squares(8), squares(4)
        assert dice_loss(sure(predicted), truth).item() == pytest.approx(1 - (2 * 16 + 1) / (64 + 16 + 1), abs=1e-4)

    def test_a_perfect_mask_and_an_absent_structure_cost_nothing(self) -> None:
        truth = squares(0, 5, 16)
        assert mask_loss(sure(truth), truth).item() == pytest.approx(0, abs=1e-4)

    def test_an_absent_structure_that_is_found_costs_nearly_one(self) -> None:
        assert dice_loss(sure(squares(12)), squares(0)).item() > 0.99

    def test_what_is_not_known_does_not_count(self) -> None:
        logits, truth = torch.randn(1, 3, 8, 8, requires_grad=True), torch.rand(1, 3, 8, 8).round()
        loss = mask_loss(logits, truth, torch.tensor([[True, False, True]]))
        loss.backward()
        torch.testing.assert_close(loss, mask_loss(logits[:, [0, 2]], truth[:, [0, 2]]))
        assert logits.grad is not None
        assert logits.grad[0, 1].abs().max() == 0
        assert logits.grad[0, 0].abs().max() > 0

    def test_nothing_known_is_no_loss(self) -> None:
        logits = torch.randn(2, 3, 8, 8, requires_grad=True)
        loss = mask_loss(logits, torch.rand(2, 3, 8, 8), torch.zeros(2, 3, dtype=torch.bool))
        loss.backward()
        assert loss.item() == 0
        assert logits.grad is not None
        assert logits.grad.abs().max() == 0

    def test_the_pixel_loss_is_cross_entropy_and_focus_lowers_what_is_easy(self) -> None:
        logits, truth = torch.tensor([[[[3.0, -1.0]]]]), torch.tensor([[[[1.0, 1.0]]]])
        easy, hard = -math.log(1 / (1 + math.exp(-3))), -math.log(1 / (1 + math.exp(1)))
        assert pixel_loss(logits, truth).item() == pytest.approx((easy + hard) / 2, abs=1e-5)
        focused = (easy * (1 - math.exp(-easy)) ** 2 + hard * (1 - math.exp(-hard)) ** 2) / 2
        assert pixel_loss(logits, truth, focus=2.0).item() == pytest.approx(focused, abs=1e-5)

    def test_the_weight_of_pixels(self) -> None:
        logits, truth = torch.randn(1, 2, 8, 8), torch.rand(1, 2, 8, 8).round()
        both = dice_loss(logits, truth) + 3 * pixel_loss(logits, truth)
        torch.testing.assert_close(mask_loss(logits, truth, pixel_weight=3.0), both)

    def test_half_precision_logits_are_summed_in_single_precision(self) -> None:
        logits, truth = torch.randn(1, 1, 80, 80), torch.rand(1, 1, 80, 80).round()
        half = mask_loss(logits.bfloat16(), truth)
        assert half.dtype == torch.float32
        torch.testing.assert_close(half, mask_loss(logits.bfloat16().float(), truth))


class TestIou:
    def test_it_is_the_error_of_the_predicted_iou(self) -> None:
        predicted, truth = squares(8, 0, 4), squares(4, 0, 0)
        loss = iou_loss(torch.tensor([[0.5, 0.9, 0.3]]), sure(predicted), truth)
        expected = ((0.5 - 0.25) ** 2 + (0.9 - 1.0) ** 2 + 0.3**2) / 3
        assert loss.item() == pytest.approx(expected, abs=1e-6)

    def test_the_mask_gets_no_gradient(self) -> None:
        logits, predicted = torch.randn(1, 2, 8, 8, requires_grad=True), torch.rand(1, 2, requires_grad=True)
        iou_loss(predicted, logits, squares(3, 5, size=8)).backward()
        assert logits.grad is None
        assert predicted.grad is not None


class TestHeatmap:
    POINTS = torch.tensor([[[20.0, 31.5], [40.2, 12.9]]])

    def perfect(self, points: torch.Tensor) -> torch.Tensor:
        return gaussian_target((points - 0.5) / 2, (32, 32), sigma=1.5).clamp_min(1e-20).log()

    def test_a_perfect_map_costs_nothing(self) -> None:
        assert heatmap_loss(self.perfect(self.POINTS), self.POINTS).item() == pytest.approx(0, abs=1e-3)

    def test_it_grows_with_the_distance(self) -> None:
        losses = [heatmap_loss(self.perfect(self.POINTS + shift), self.POINTS).item() for shift in (0, 1, 2, 4)]
        assert losses == sorted(losses)
        # divergence of two Gaussians of deviation 3 input pixels that are 4 px apart in x and in y, and that distance
        assert losses[3] == pytest.approx((4**2 + 4**2) / (2 * 3**2) + 0.02 * 4, rel=0.02)

    def test_points_outside_the_map_or_unknown_do_not_count(self) -> None:
        logits = torch.randn(1, 2, 32, 32, requires_grad=True)
        for bad in (-5.0, float("nan"), 64.0):
            logits.grad = None
            points = self.POINTS.clone()
            points[0, 1, 0] = bad
            loss = heatmap_loss(logits, points)
            loss.backward()
            torch.testing.assert_close(loss, heatmap_loss(logits[:, :1], self.POINTS[:, :1]))
            assert logits.grad is not None
            assert logits.grad.isfinite().all()
            assert logits.grad[0, 1].abs().max() == 0

    def test_descending_it_finds_the_point(self) -> None:
        logits = torch.zeros(1, 2, 32, 32, requires_grad=True)
        optimizer = torch.optim.Adam([logits], lr=0.3)
        for _ in range(100):
            optimizer.zero_grad()
            heatmap_loss(logits, self.POINTS).backward()
            optimizer.step()
        highest = logits.detach().flatten(2).argmax(dim=-1)
        found = 2 * torch.stack((highest % 32, highest // 32), dim=-1) + 0.5
        assert (found - self.POINTS).abs().max() <= 1.5


class TestEf:
    def prediction(self, ef: torch.Tensor, spread: float = 4.0, volume: float = 0.5) -> ClipPrediction:
        return ClipPrediction(ef, torch.full_like(ef, spread), torch.full((len(ef), 3), volume))

    def test_a_perfect_answer_costs_only_its_doubt(self) -> None:
        ef = torch.tensor([40.0, 60.0])
        loss = ef_loss(self.prediction(ef, spread=0.0), ef, torch.full((2, 3), 0.5))
        assert loss.item() == pytest.approx(0, abs=1e-6)

    def test_the_interval_term_is_the_gaussian_likelihood(self) -> None:
        prediction = self.prediction(torch.tensor([50.0]), spread=3.0)
        truth, curve = torch.tensor([57.0]), torch.full((1, 3), 0.5)
        weighted = ef_loss(prediction, truth, curve, interval_weight=1.0) - ef_loss(
            prediction, truth, curve, interval_weight=0.0
        )
        likelihood = -Normal(50.0, math.exp(1.5)).log_prob(torch.tensor(57.0)) - 0.5 * math.log(2 * math.pi)
        assert weighted.item() == pytest.approx(likelihood.item(), abs=1e-4)

    def test_the_best_doubt_is_the_true_error(self) -> None:
        truth, curve = torch.tensor([55.0]), torch.full((1, 3), 0.5)
        losses = {
            s: ef_loss(self.prediction(torch.tensor([50.0]), s), truth, curve).item() for s in (1.0, 2.0, 3.2, 4.5, 6.0)
        }
        assert min(losses, key=losses.__getitem__) == 3.2  # ln 5^2 is 3.22

    def test_doubt_does_not_slow_the_mean(self) -> None:
        gradients = []
        for spread in (0.5, 7.0):
            ef = torch.tensor([50.0], requires_grad=True)
            ef_loss(self.prediction(ef, spread), torch.tensor([70.0]), torch.full((1, 3), 0.5)).backward()
            assert ef.grad is not None
            gradients.append(ef.grad.item())
        assert gradients[0] == gradients[1] != 0

    def test_what_is_unknown_does_not_count(self) -> None:
        ef = torch.tensor([50.0, 20.0], requires_grad=True)
        volume = torch.rand(2, 3, requires_grad=True)
        prediction = ClipPrediction(ef, torch.full((2,), 4.0), volume)
        nan = float("nan")
        loss = ef_loss(prediction, torch.tensor([60.0, nan]), torch.tensor([[1.0, nan, 0.5], [nan, nan, nan]]))
        loss.backward()
        assert loss.isfinite()
        assert ef.grad is not None
        assert ef.grad[0] != 0
        assert ef.grad[1] == 0
        assert volume.grad is not None
        assert (volume.grad != 0).tolist() == [[True, False, True], [False] * 3]

    def test_padding_frames_do_not_count(self) -> None:
        prediction = self.prediction(torch.tensor([50.0]))
        mask = torch.tensor([[True, True, False]])
        loss = ef_loss(prediction, torch.tensor([50.0]), torch.tensor([[0.5, 0.5, 9.0]]), frame_mask=mask)
        clean = ef_loss(prediction, torch.tensor([50.0]), torch.tensor([[0.5, 0.5, float("nan")]]))
        torch.testing.assert_close(loss, clean)
