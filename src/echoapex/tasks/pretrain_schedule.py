"""What changes in the course of pretraining: momentum and temperature of the teacher, freedom of the prototypes."""

from __future__ import annotations

import math

from pydantic import Field

from echoapex.config import Config


class PretrainSchedule(Config):
    """Schedules of DINO and DINOv2, counted in updates."""

    steps: int | None = Field(default=None, ge=1)
    """Updates until the teacher's momentum has reached its end; None: those of the run (``train.steps``)."""
    momentum: float = Field(default=0.992, ge=0, le=1)
    """Share of the old teacher in the new one, at the start; higher for small batches."""
    final_momentum: float = Field(default=1.0, ge=0, le=1)
    temperature: float = Field(default=0.04, gt=0)
    """Of the teacher, at the start."""
    final_temperature: float = Field(default=0.07, gt=0)
    temperature_steps: int = Field(default=0, ge=0)
    """Updates over which the temperature rises, linearly."""
    frozen_prototype_steps: int = Field(default=0, ge=0)
    """Updates during which the prototypes stay where they are, so that features come to meet them."""

    def momentum_at(self, step: int) -> float:
        """The momentum after update ``step``, on half a cosine.

        >>> schedule = PretrainSchedule(steps=11, momentum=0.9)
        >>> [round(schedule.momentum_at(step), 3) for step in (0, 5, 10, 20)]
        [0.9, 0.95, 1.0, 1.0]

        Raises:
            ValueError: the number of updates is not known.
        """
        if self.steps is None:
            raise ValueError("the length of the schedule is not known; set schedule.steps")
        progress = min(1.0, step / max(1, self.steps - 1))
        return self.final_momentum - (self.final_momentum - self.momentum) * 0.5 * (1 + math.cos(math.pi * progress))

    def temperature_at(self, step: int) -> float:
        """The teacher's temperature at update ``step``.

        >>> schedule = PretrainSchedule(steps=100, temperature_steps=30)
        >>> [round(schedule.temperature_at(step), 3) for step in (0, 10, 30, 99)]
        [0.04, 0.05, 0.07, 0.07]
        """
        progress = min(1.0, step / self.temperature_steps) if self.temperature_steps else 1.0
        return self.temperature + (self.final_temperature - self.temperature) * progress
