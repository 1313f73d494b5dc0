"""Cross-entropy between assignments to very many prototypes, a few rows at a time.

Both DINO and iBOT compare rows of tens of thousands of scores. Written as a formula, each of its terms is a matrix as
large as the scores; here the loss and its gradient are found together, for as many rows as stay in the processor's
cache, and one matrix is kept: the gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

_CPU_SCORES_AT_ONCE = 1 << 18
_GPU_SCORES_AT_ONCE = 1 << 27


def assignment_entropy(
    logits: Float[Tensor, "rows prototypes"],
    shares: Float[Tensor, "targets prototypes"],
    targets: Int[Tensor, "rows"] | None,
    weights: Float[Tensor, "rows"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Weighted sum over rows of the cross-entropy of softmax(logits / temperature) with the shares of their target.

    Computed in single precision whatever the logits are; only they get a gradient, in their own precision.

    Args:
        logits: scores of the student.
        shares: assignments; rows sum to one.
        targets: row of ``shares`` that each row of ``logits`` is to come to; None: the one of the same number.
        weights: of the rows.
        temperature: of the student.
    """
    with torch.autocast(logits.device.type, enabled=False):
        loss: Tensor = _AssignmentEntropy.apply(logits, shares, targets, weights, temperature)  # type: ignore[no-untyped-call]
    return loss


class _AssignmentEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, logits: Tensor, shares: Tensor, targets: Tensor | None, weights: Tensor, temperature: float
    ) -> Tensor:
        wanted = context.needs_input_grad[0]
        gradient = torch.empty_like(logits) if wanted else None
        loss = logits.new_zeros((), dtype=torch.float32)
        scores_at_once = _CPU_SCORES_AT_ONCE if logits.device.type == "cpu" else _GPU_SCORES_AT_ONCE
        rows = max(1, scores_at_once // logits.shape[1])
        for first in range(0, len(logits), rows):
            part = slice(first, first + rows)
            scores = logits[part].to(torch.float32, copy=True)
            wished = shares[part if targets is None else targets[part]].float()
            weight = weights[part].float()
            agreement = torch.linalg.vecdot(scores, wished)
            peak = scores.amax(dim=1)
            odds = scores.sub_(peak[:, None]).mul_(1 / temperature).exp_()
            total = odds.sum(dim=1)
            loss += torch.dot((peak - agreement) / temperature + total.log(), weight)
            if gradient is not None:
                pull = (weight / temperature)[:, None]
                gradient[part] = odds.mul_(pull / total[:, None]).addcmul_(wished, pull, value=-1)
        if gradient is not None:
            context.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(context: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = context.saved_tensors
        return gradient * upstream[0].to(gradient.dtype), None, None, None, None
