"""Warm-up, cosine, and groups that keep their share of the learning rate."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from straight_line import StraightLine

from echoapex.tasks.task import ParameterGroup
from echoapex.train.optim import (
    OptimConfig,
    build_optimizer,
    clip_gradients,
    learning_rate,
    set_learning_rate,
    set_weight_decay,
    weight_decay,
)


def test_the_rate_rises_evenly_then_falls_to_its_final_share() -> None:
    config = OptimConfig(lr=1.0, warmup_steps=4, final_factor=0.1)
    rates = [learning_rate(step, 104, config) for step in range(105)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert rates[54] == pytest.approx(0.55), "half way down at half time"
    assert rates[104] == pytest.approx(0.1)
    assert all(later < earlier for earlier, later in pairwise(rates[4:]))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 500), st.integers(0, 600), st.floats(1e-6, 1), st.floats(0, 1))
def test_the_rate_stays_between_nothing_and_its_peak(steps: int, warmup: int, lr: float, final: float) -> None:
    config = OptimConfig(lr=lr, warmup_steps=warmup, final_factor=final)
    for step in range(0, steps, max(1, steps // 7)):
        assert 0 <= learning_rate(step, steps, config) <= lr * (1 + 1e-9)
        if step >= warmup:
            assert learning_rate(step, steps, config) >= lr * final * (1 - 1e-9)


def test_groups_keep_their_factors() -> None:
    task = StraightLine()
    optimizer = build_optimizer(task, OptimConfig(lr=0.01, weight_decay=0.2, betas=(0.8, 0.9)))
    slope, intercept = optimizer.param_groups
    assert slope["params"] == [task.slope.weight]
    assert (slope["weight_decay"], intercept["weight_decay"]) == (0.2, 0.0)
    assert slope["betas"] == (0.8, 0.9)
    assert (slope["lr"], intercept["lr"]) == (pytest.approx(0.001), 0.01)
    set_learning_rate(optimizer, 0.5, 0)
    assert (slope["lr"], intercept["lr"]) == (0.05, 0.5)


def test_a_group_without_parameters_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    task = StraightLine()
    groups = [*task.parameter_groups(), ParameterGroup([])]
    monkeypatch.setattr(task, "parameter_groups", lambda: groups)
    assert len(build_optimizer(task, OptimConfig()).param_groups) == 2


def test_frozen_parameters_are_never_moved() -> None:
    task = StraightLine()
    moved = {id(p) for group in build_optimizer(task, OptimConfig()).param_groups for p in group["params"]}
    assert id(task.frozen) not in moved
    assert isinstance(build_optimizer(task, OptimConfig()), torch.optim.AdamW)


def test_a_frozen_group_waits_and_then_rises() -> None:
    task = StraightLine()
    optimizer = build_optimizer(task, OptimConfig(lr=1.0))
    slope, intercept = optimizer.param_groups
    slope["frozen_updates"] = 4
    rates = []
    for step in range(10):
        set_learning_rate(optimizer, 1.0, step)
        assert intercept["lr"] == 1.0
        rates.append(slope["lr"] / slope["factor"])
    assert rates == pytest.approx([0, 0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1])


class TwoNetworks(StraightLine):
    def parameter_groups(self) -> list[ParameterGroup]:
        slope, intercept = super().parameter_groups()
        return [replace(slope, network="encoder"), replace(intercept, network="head")]


def test_each_network_is_clipped_by_itself() -> None:
    task = TwoNetworks()
    optimizer = build_optimizer(task, OptimConfig())
    task.slope.weight.grad, task.intercept.grad = torch.full((1, 1), 100.0), torch.full((1,), 0.5)
    assert clip_gradients(optimizer, 1.0) == {"encoder": 100.0, "head": 0.5}
    assert task.slope.weight.grad.item() == pytest.approx(1.0)
    assert task.intercept.grad.item() == 0.5, "a long gradient of one network does not shorten another's"


def test_weight_decay_rises_on_half_a_cosine_and_spares_what_has_none() -> None:
    config = OptimConfig(weight_decay=0.04, final_weight_decay=0.4)
    found = [weight_decay(step, 11, config) for step in range(11)]
    assert (found[0], found[5], found[10]) == pytest.approx((0.04, 0.22, 0.4))
    assert all(later > earlier for earlier, later in pairwise(found))
    assert weight_decay(7, 11, OptimConfig(weight_decay=0.3)) == 0.3
    optimizer = build_optimizer(StraightLine(), config)
    set_weight_decay(optimizer, 0.25)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.25, 0.0]
