"""Schedules start and end where they say, and never go back."""

import pytest

from echoapex.tasks.pretrain import PretrainSchedule


def test_momentum_rises_from_its_start_to_its_end() -> None:
    schedule = PretrainSchedule(steps=50, momentum=0.9, final_momentum=0.99)
    values = [schedule.momentum_at(step) for step in range(60)]
    assert values[0] == pytest.approx(0.9)
    assert values[49:] == pytest.approx([0.99] * 11)
    assert values == sorted(values)
    assert values[25] == pytest.approx(0.945, abs=0.003)


def test_temperature_rises_over_its_steps_or_is_final_at_once() -> None:
    schedule = PretrainSchedule(steps=50, temperature=0.04, final_temperature=0.08, temperature_steps=20)
    assert [schedule.temperature_at(step) for step in (0, 5, 20, 49)] == pytest.approx([0.04, 0.05, 0.08, 0.08])
    assert PretrainSchedule(steps=50).temperature_at(0) == 0.07


def test_a_run_of_one_step_has_a_momentum() -> None:
    assert PretrainSchedule(steps=1, momentum=0.5).momentum_at(0) == 0.5
