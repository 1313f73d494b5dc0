"""The DINO loss: every crop of an image is to be assigned to prototypes as the teacher assigns the global crops.

The iBOT loss: a patch masked from the student is to be assigned to prototypes as the teacher, who saw it, does.

The KoLeo regulariser: features of a batch are to spread evenly over the sphere.

Sinkhorn centring: teacher scores become assignments that use every prototype equally.

Cross-entropy between assignments to very many prototypes, a few rows at a time.

Both DINO and iBOT compare rows of tens of thousands of scores. Written as a formula, each of its terms is a matrix as
large as the scores; here the loss and its gradient are found together, for as many rows as stay in the processor's
cache, and one matrix is kept: the gradient.

Rows of all processes side by side, for a loss that compares every example with every other.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, distributed
from torch.nn import functional

_CPU_SCORES_AT_ONCE = 1 << 18
_GPU_SCORES_AT_ONCE = 1 << 27


def prototype_cross_entropy(
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
        loss: Tensor = _PrototypeCrossEntropy.apply(logits, shares, targets, weights, temperature)  # type: ignore[no-untyped-call]
    return loss


class _PrototypeCrossEntropy(torch.autograd.Function):
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


def dino_loss(
    student_logits: Float[Tensor, "crops batch prototypes"],
    teacher_shares: Float[Tensor, "globals batch prototypes"],
    temperature: float = 0.1,
) -> Float[Tensor, ""]:
    """Mean cross-entropy over all pairs of a teacher's global crop and another crop of the student.

    Computed in single precision whatever the model ran in.

    Source: Caron et al., "Emerging properties in self-supervised vision transformers", 2021, equation 3.

    Args:
        student_logits: of the global crops, in the teacher's order, followed by the local crops.
        teacher_shares: assignments of the global crops; rows sum to one.
        temperature: of the student.

    Raises:
        ValueError: there is no pair of different crops.
    """
    crops, global_crops = len(student_logits), len(teacher_shares)
    pairs = global_crops * (crops - 1)
    if crops < global_crops or pairs < 1:
        raise ValueError(
            f"{crops} student crops and {global_crops} teacher crops make no pair of different crops; "
            "give the student every global crop and at least two crops in all"
        )
    # the entropy is linear in the teacher's shares: a crop is compared with the mean of all others of the image at once
    together = teacher_shares.float().sum(dim=0)
    others = (together - teacher_shares.float()) / max(1, global_crops - 1)
    wished = torch.cat((others, together[None] / global_crops)).flatten(0, 1)
    batch = student_logits.shape[1]
    crop = torch.arange(crops, device=wished.device)
    targets = (crop.clamp_max(global_crops)[:, None] * batch + torch.arange(batch, device=wished.device)).flatten()
    met = torch.where(crop < global_crops, global_crops - 1, global_crops)
    weights = (met / (pairs * batch)).repeat_interleave(batch)
    return prototype_cross_entropy(student_logits.flatten(0, 1), wished, targets, weights, temperature)


def ibot_loss(
    student_logits: Float[Tensor, "masked prototypes"],
    teacher_shares: Float[Tensor, "masked prototypes"],
    patch_mask: Bool[Tensor, "images patches"],
    temperature: float = 0.1,
) -> Float[Tensor, ""]:
    """Cross-entropy of the masked patches: their mean within each image, and its mean over all images.

    Images without a masked patch count as without fault, so that the loss of two half batches averages to that of the
    whole; without any masked patch the loss is zero, with a gradient of zero. Computed in single precision.

    Sources: Zhou et al., "iBOT", 2022, equation 3; the weighting of Oquab et al., "DINOv2", 2023.

    Args:
        student_logits: of the masked patches only, in the order of ``tokens[patch_mask]``.
        teacher_shares: assignments of the same patches; rows sum to one.
        patch_mask: which patches were masked; it says how many belong to each image.
        temperature: of the student.

    Raises:
        ValueError: the mask hides another number of patches than there are rows.
    """
    counts = patch_mask.sum(dim=1)
    if int(counts.sum()) != len(student_logits):
        raise ValueError(f"the mask hides {int(counts.sum())} patches, but {len(student_logits)} rows were given")
    weights = (1 / counts.clamp_min(1)).repeat_interleave(counts) / len(patch_mask)
    return prototype_cross_entropy(student_logits, teacher_shares, None, weights, temperature)


def gather_over_processes(rows: Float[Tensor, "own width"]) -> Float[Tensor, "all width"]:
    """The rows of all processes of ``torch.distributed``, by rank; with one process the rows themselves.

    A loss that every process computes from the result has, in a process's own rows, a gradient that is the sum over the
    processes; once gradients are averaged over them, it is that of one process with all rows. Every process has as
    many rows as any other.
    """
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return rows
    gathered: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total.chunk(distributed.get_world_size())[distributed.get_rank()]


def koleo_loss(features: Float[Tensor, "batch width"], epsilon: float = 1e-8) -> Float[Tensor, ""]:
    """Minus the mean logarithm of the distance from each feature, brought to unit length, to its nearest neighbour.

    The neighbour is found without a gradient, the distance has one. A batch of one has no neighbour and a loss of zero.
    The batch is that of all processes of ``torch.distributed`` together. Computed in single precision.

    Source: Sablayrolles et al., "Spreading vectors for similarity search", 2019, equation 3.

    Args:
        features: of any length; only their direction counts.
        epsilon: added to the distance, for features that coincide.
    """
    with torch.autocast(features.device.type, enabled=False):
        directions = gather_over_processes(functional.normalize(features.float(), dim=-1))
        if len(directions) < 2:
            return directions.sum() * 0
        with torch.no_grad():
            cosines = directions @ directions.T
            nearest = cosines.fill_diagonal_(-2).argmax(dim=1)
        distance = (directions - directions[nearest] + epsilon).norm(dim=-1)
        return -torch.log(distance + epsilon).mean()


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
