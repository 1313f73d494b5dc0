"""Sinkhorn centring: teacher scores become assignments that use every prototype equally."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, distributed


@torch.no_grad()
def sinkhorn_assignments(
    logits: Float[Tensor, "samples prototypes"], temperature: float, iterations: int = 3
) -> Float[Tensor, "samples prototypes"]:
    """Assign samples to prototypes so that, over all samples, every prototype gets the same share.

    The rows of the result sum to one. Where a process group of ``torch.distributed`` is initialised, the samples are
    those of all its processes, and each process gets the rows of its own; a process may have none.

    Sources: Cuturi, "Sinkhorn distances", 2013; Caron et al., "SwAV", 2020, appendix A; Oquab et al., "DINOv2", 2023,
    section 4 (three iterations on the teacher's scores).

    Args:
        logits: scores of the teacher; their spread over ``temperature`` must stay below about 80, or the least likely
            prototypes vanish in single precision. Cosines at a temperature of 0.03 or more do.
        temperature: above 0; the lower, the sharper.
        iterations: of the two normalisations.
    """
    scores = logits.detach().to(torch.float32, copy=True).div_(temperature)
    peak = scores.max() if scores.numel() else scores.new_tensor(-torch.inf)
    odds = scores.sub_(_over_processes(peak, distributed.ReduceOp.MAX)).exp_()
    tiny = torch.finfo(torch.float32).tiny
    samples = _over_processes(odds.new_tensor(float(len(odds))))
    # normalising rows and columns in turn multiplies each by a factor: the factors are found, the matrix stays
    by_sample, by_prototype = odds.new_ones(odds.shape[0]), odds.new_ones(odds.shape[1])
    with torch.autocast(odds.device.type, enabled=False):
        for _ in range(iterations):
            columns = _over_processes(by_sample @ odds)
            by_prototype = 1 / (columns * odds.shape[1]).clamp_min(tiny)
            by_sample = 1 / ((odds @ by_prototype) * samples).clamp_min(tiny)
    return odds.mul_(by_prototype).mul_((by_sample * samples)[:, None])


def _over_processes(value: Tensor, reduction: distributed.ReduceOp.RedOpType = distributed.ReduceOp.SUM) -> Tensor:
    """The sum (or maximum) of a value over all processes; with one process the value itself."""
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        value = value.clone()
        distributed.all_reduce(value, op=reduction)
    return value
