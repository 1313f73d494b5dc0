"""The smallest task that the loop can train: a straight line through points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from echoapex.tasks.task import Cases, Loss, ParameterGroup, Task


@dataclass(frozen=True, eq=False)
class Points:
    """Points on the line y = 2 x + 1."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        """Number of points."""
        return len(self.x)

    def to(self, device: torch.device) -> Points:
        """The same points on another device."""
        return Points(self.x.to(device), self.y.to(device))


class PointSource:
    """The same step always gives the same points; remembers which steps were asked for."""

    def __init__(self, bad_step: int | None = None) -> None:
        self.asked: list[int] = []
        self._bad_step = bad_step

    def batch(self, step: int) -> Points:
        """The points of a step; those of the bad step are not numbers."""
        self.asked.append(step)
        x = torch.randn(16, 1, generator=torch.Generator().manual_seed(step))
        return Points(x, 2 * x + 1 if step != self._bad_step else x * float("nan"))


class StraightLine(Task):
    """Slope, intercept, a weight that does not learn, and a count of steps in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Linear(1, 1, bias=False)
        self.intercept = nn.Parameter(torch.zeros(1))
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.register_buffer("steps_seen", torch.zeros((), dtype=torch.long))
        self.dropout = nn.Dropout(0.1)

    def loss(self, batch: Points) -> Loss:
        """Mean squared error; dropout makes it depend on the random state."""
        error = self.dropout(self.slope(batch.x)) + self.intercept - batch.y
        return Loss.sum_of([("squared_error", 1.0, error.float().square().mean())])

    @torch.no_grad()
    def cases(self, batch: Points) -> Cases:
        """The error of every point."""
        return {"error": self.slope(batch.x) + self.intercept - batch.y}

    def summarise(self, cases: Cases) -> dict[str, float]:
        """Mean absolute error."""
        return {"error": cases["error"].abs().mean().item()}

    def parameter_groups(self) -> list[ParameterGroup]:
        """The slope learns ten times more slowly than the intercept."""
        return [
            ParameterGroup([self.slope.weight], learning_rate_factor=0.1),
            ParameterGroup([self.intercept], 1.0, 0.0),
        ]

    def after_step(self, step: int) -> None:
        """Count."""
        self.steps_seen += 1
