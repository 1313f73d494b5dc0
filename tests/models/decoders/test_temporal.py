from __future__ import annotations

import math

import torch

from echoapex.models.decoders.spatiotemporal import RotaryTime, TemporalBlock


def test_only_the_time_between_two_frames_counts() -> None:
    time = RotaryTime(16, 0.05, 10.0)
    query, key = torch.randn(1, 1, 1, 16), torch.randn(1, 1, 1, 16)

    def product(first_s: float, second_s: float) -> float:
        both = time(torch.tensor([[0.0, first_s, second_s]]))
        turned = both.turn(torch.cat((query, query, key), dim=2))
        return float((turned[0, 0, 1] * turned[0, 0, 2]).sum())

    assert math.isclose(product(0.1, 0.35), product(1.1, 1.35), abs_tol=1e-4)
    assert not math.isclose(product(0.1, 0.35), product(0.1, 0.45), abs_tol=1e-2)


def test_periods_are_in_seconds() -> None:
    rotation = RotaryTime(8, 0.5, 4.0)(torch.tensor([[0.0, 0.5, 1.0, 4.0]]))
    cosines = rotation.cosines[0, 0]
    torch.testing.assert_close(cosines[1:, 0], torch.ones(3), atol=1e-5, rtol=0)  # half a second and its multiples
    assert math.isclose(cosines[3, 3].item(), 1, abs_tol=1e-5)  # four seconds
    assert math.isclose(cosines[2, 3].item(), 0, abs_tol=1e-5)  # a quarter of it


def test_turning_keeps_the_length() -> None:
    tokens = torch.randn(2, 3, 5, 16)
    rotation = RotaryTime(16, 0.05, 10.0)(torch.rand(2, 5))
    torch.testing.assert_close(rotation.turn(tokens).norm(dim=-1), tokens.norm(dim=-1))


def test_a_block_ignores_padding_frames() -> None:
    block, time = TemporalBlock(16, heads=2, dropout=0.0), RotaryTime(8, 0.05, 10.0)
    frames, times = torch.randn(1, 6, 16), torch.rand(1, 6)
    mask = torch.tensor([[True] * 4 + [False] * 2])
    short = block(frames[:, :4], time(times[:, :4]), None)
    torch.testing.assert_close(block(frames, time(times), mask)[:, :4], short)
