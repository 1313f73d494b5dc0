"""An exponential moving average of the trainable weights, kept outside the model (Polyak and Juditsky, 1992)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from echoapex.train.distributed import fitted


class WeightAverage:
    """Follows the trainable parameters of a module with decay ``min(decay, (1 + t) / (10 + t))`` at update t.

    With a decay of 0 the average would equal the weights, so nothing is stored and nothing replaced.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state: dict[str, Tensor] = {
            name: parameter.detach().clone()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad and decay > 0
        }

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average towards the weights after update number ``step``."""
        decay = min(self.decay, (1 + step) / (10 + step))
        parameters = dict(module.named_parameters())
        names = list(self.state)
        if not names:
            return
        torch._foreach_lerp_([self.state[n] for n in names], [parameters[n].detach() for n in names], 1 - decay)

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over a saved average.

        Raises:
            KeyError: the saved average has other parameters.
        """
        if set(state) != set(self.state):
            raise KeyError("the saved average has other parameters than the task")
        for name, value in state.items():
            self.state[name].copy_(fitted(value, self.state[name]))

    @contextmanager
    def applied_to(self, module: nn.Module) -> Iterator[None]:
        """Context manager: the module has the averaged weights inside the block, and its own weights afterwards."""
        parameters = dict(module.named_parameters())
        own = {name: parameters[name].detach().clone() for name in self.state}
        _copy_into(parameters, self.state)
        try:
            yield
        finally:
            _copy_into(parameters, own)


@torch.no_grad()
def _copy_into(parameters: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
    for name, value in values.items():
        parameters[name].copy_(value)
