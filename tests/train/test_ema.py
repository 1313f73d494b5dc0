"""The average follows the weights, is lent and given back, and refuses another model's."""

import pytest
import torch
from straight_line import StraightLine

from echoapex.train.optim import WeightAverage


def moved_by(task: StraightLine, amount: float) -> None:
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.add_(amount)


def test_the_average_is_the_recursion_of_its_definition() -> None:
    task = StraightLine()
    average = WeightAverage(task, decay=0.5)
    expected = task.intercept.item()
    for step in range(12):
        moved_by(task, 1.0)
        average.update(task, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * task.intercept.item()
        assert average.state["intercept"].item() == pytest.approx(expected, rel=1e-5)


def test_without_decay_it_is_the_weights_themselves_and_no_copy_is_kept() -> None:
    task = StraightLine()
    average = WeightAverage(task, decay=0.0)
    moved_by(task, 3.0)
    average.update(task, step=100)
    assert average.state == {}
    own = task.slope.weight.clone()
    with average.applied_to(task):
        assert torch.equal(task.slope.weight, own)
    average.load({})


def test_only_what_learns_is_averaged() -> None:
    task = StraightLine()
    average = WeightAverage(task, decay=0.9)
    assert set(average.state) == {"slope.weight", "intercept"}
    assert average.state["intercept"].data_ptr() != task.intercept.data_ptr()


def test_the_average_is_lent_and_the_weights_come_back_even_after_an_error() -> None:
    task = StraightLine()
    average = WeightAverage(task, decay=0.9)
    before = average.state["intercept"].clone()
    moved_by(task, 2.0)
    own = task.intercept.detach().clone()

    def look_and_fail() -> None:
        with average.applied_to(task):
            assert torch.equal(task.intercept, before)
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        look_and_fail()
    assert torch.equal(task.intercept, own)
    assert torch.equal(average.state["intercept"], before)


def test_a_saved_average_is_taken_over_or_refused() -> None:
    average = WeightAverage(StraightLine(), decay=0.9)
    saved = {"slope.weight": torch.full((1, 1), 7.0), "intercept": torch.full((1,), 8.0)}
    average.load(saved)
    assert average.state["slope.weight"].item() == 7
    saved["intercept"].zero_()
    assert average.state["intercept"].item() == 8, "a copy"
    with pytest.raises(KeyError, match="other parameters"):
        average.load({"slope.weight": torch.ones(1, 1)})
