"""The losses of self-distillation: DINO on class tokens, iBOT on masked patches, KoLeo, and Sinkhorn for the teacher.

The teacher's scores become *targets*: soft assignments to prototypes, one row per token, each row with the sum one
(Sinkhorn balances them, so that every prototype is used equally). The student learns to predict these targets by
cross-entropy. KoLeo spreads the features of a batch evenly over the sphere.

The cross-entropy compares rows of tens of thousands of scores. Written as a formula, each of its terms would be a
matrix as large as the scores. Here loss and gradient are computed together, for as many rows at a time as fit into the
processor's cache, and only one matrix is kept: the gradient.

Sinkhorn and KoLeo work on the samples of all processes of ``torch.distributed`` together.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, distributed
from torch.nn import functional

_CPU_SCORES_AT_ONCE = 1 << 18
_GPU_SCORES_AT_ONCE = 1 << 27


def dino_loss(
    student_logits: Float[Tensor, "crops batch prototypes"],
    teacher_targets: Float[Tensor, "globals batch prototypes"],
    temperature: float = 0.1,
) -> Float[Tensor, ""]:
    """Mean cross-entropy over all pairs of a global crop of the teacher and a different crop of the student.

    Computed in single precision, whatever the precision of the model.

    Source: Caron et al., "Emerging properties in self-supervised vision transformers", 2021, equation 3.

    Args:
        student_logits: of the global crops, in the teacher's order, followed by the local crops.
        teacher_targets: soft assignments of the global crops; each row sums to one.
        temperature: of the student.

    Raises:
        ValueError: there is no pair of different crops.
    """
    crops, global_crops = len(student_logits), len(teacher_targets)
    pairs = global_crops * (crops - 1)
    if crops < global_crops or pairs < 1:
        raise ValueError(
            f"{crops} student crops and {global_crops} teacher crops make no pair of different crops; "
            "give the student every global crop and at least two crops in all"
        )
    # cross-entropy is linear in the targets, so a crop is compared once with the mean target of the other global crops
    total = teacher_targets.float().sum(dim=0)
    others = (total - teacher_targets.float()) / max(1, global_crops - 1)
    targets = torch.cat((others, total[None] / global_crops)).flatten(0, 1)
    batch = student_logits.shape[1]
    crop = torch.arange(crops, device=targets.device)
    target_rows = (crop.clamp_max(global_crops)[:, None] * batch + torch.arange(batch, device=targets.device)).flatten()
    partners = torch.where(crop < global_crops, global_crops - 1, global_crops)
    weights = (partners / (pairs * batch)).repeat_interleave(batch)
    return prototype_cross_entropy(student_logits.flatten(0, 1), targets, target_rows, weights, temperature)


def ibot_loss(
    student_logits: Float[Tensor, "masked prototypes"],
    teacher_targets: Float[Tensor, "masked prototypes"],
    patch_mask: Bool[Tensor, "images patches"],
    temperature: float = 0.1,
) -> Float[Tensor, ""]:
    """Cross-entropy of the masked patches: the mean within each image, then the mean over all images.

    An image without a masked patch counts with a loss of zero. So the mean loss of two half batches is the loss of the
    whole batch. Without any masked patch the loss and its gradient are zero. Computed in single precision.

    Sources: Zhou et al., "iBOT", 2022, equation 3; the weighting of Oquab et al., "DINOv2", 2023.

    Args:
        student_logits: of the masked patches only, in the order of ``tokens[patch_mask]``.
        teacher_targets: soft assignments of the same patches; each row sums to one.
        patch_mask: True where a patch was masked.
        temperature: of the student.

    Raises:
        ValueError: the mask has another number of masked patches than there are rows.
    """
    counts = patch_mask.sum(dim=1)
    if int(counts.sum()) != len(student_logits):
        raise ValueError(f"the mask hides {int(counts.sum())} patches, but {len(student_logits)} rows were given")
    weights = (1 / counts.clamp_min(1)).repeat_interleave(counts) / len(patch_mask)
    return prototype_cross_entropy(student_logits, teacher_targets, None, weights, temperature)


def koleo_loss(features: Float[Tensor, "batch width"], epsilon: float = 1e-8) -> Float[Tensor, ""]:
    """Minus the mean logarithm of the distance from each feature, normalised to unit length, to its nearest neighbour.

    The search for the neighbour has no gradient, the distance has one. The batch is that of all processes of
    ``torch.distributed`` together; a batch of one has a loss of zero. Computed in single precision.

    Source: Sablayrolles et al., "Spreading vectors for similarity search", 2019, equation 3.

    Args:
        features: only their direction counts.
        epsilon: added to the distance, for identical features.
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
    """Soft assignments of samples to prototypes such that every prototype gets the same share of all samples.

    Each row of the result sums to one. With ``torch.distributed``, the samples of all processes are balanced together
    and each process gets its own rows; a process may have no samples.

    Sources: Cuturi, "Sinkhorn distances", 2013; Caron et al., "SwAV", 2020, appendix A; Oquab et al., "DINOv2", 2023,
    section 4 (three iterations on the teacher's scores).

    Args:
        logits: scores of the teacher. Their range divided by ``temperature`` must stay below about 80, or the least
            likely prototypes underflow in single precision. Cosines at a temperature of 0.03 or more are safe.
        temperature: above 0; the lower, the sharper.
        iterations: of normalising columns, then rows.
    """
    scores = logits.detach().to(torch.float32, copy=True).div_(temperature)
    peak = scores.max() if scores.numel() else scores.new_tensor(-torch.inf)
    exponentials = scores.sub_(_over_processes(peak, distributed.ReduceOp.MAX)).exp_()
    tiny = torch.finfo(torch.float32).tiny
    samples = _over_processes(exponentials.new_tensor(float(len(exponentials))))
    # normalising rows and columns in turn only multiplies them by factors, so we iterate on the factors, not the matrix
    by_sample, by_prototype = exponentials.new_ones(exponentials.shape[0]), exponentials.new_ones(exponentials.shape[1])
    with torch.autocast(exponentials.device.type, enabled=False):
        for _ in range(iterations):
            columns = _over_processes(by_sample @ exponentials)
            by_prototype = 1 / (columns * exponentials.shape[1]).clamp_min(tiny)
            by_sample = 1 / ((exponentials @ by_prototype) * samples).clamp_min(tiny)
    return exponentials.mul_(by_prototype).mul_((by_sample * samples)[:, None])


def prototype_cross_entropy(
    logits: Float[Tensor, "rows prototypes"],
    targets: Float[Tensor, "targets prototypes"],
    target_rows: Int[Tensor, "rows"] | None,
    weights: Float[Tensor, "rows"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Weighted sum over rows of the cross-entropy between softmax(logits / temperature) and the target of the row.

    Computed in single precision, whatever the precision of the logits. Only the logits get a gradient, in their own
    precision.

    Args:
        logits: scores of the student.
        targets: soft assignments; each row sums to one.
        target_rows: for each row of ``logits``, the row of ``targets`` that belongs to it; None: the same row.
        weights: of the rows of ``logits``.
        temperature: of the student.
    """
    with torch.autocast(logits.device.type, enabled=False):
        loss: Tensor = _PrototypeCrossEntropy.apply(logits, targets, target_rows, weights, temperature)  # type: ignore[no-untyped-call]
    return loss


class _PrototypeCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, logits: Tensor, targets: Tensor, target_rows: Tensor | None, weights: Tensor, temperature: float
    ) -> Tensor:
        needs_gradient = context.needs_input_grad[0]
        gradient = torch.empty_like(logits) if needs_gradient else None
        loss = logits.new_zeros((), dtype=torch.float32)
        scores_at_once = _CPU_SCORES_AT_ONCE if logits.device.type == "cpu" else _GPU_SCORES_AT_ONCE
        rows = max(1, scores_at_once // logits.shape[1])
        for first in range(0, len(logits), rows):
            part = slice(first, first + rows)
            scores = logits[part].to(torch.float32, copy=True)
            target = targets[part if target_rows is None else target_rows[part]].float()
            weight = weights[part].float()
            agreement = torch.linalg.vecdot(scores, target)
            peak = scores.amax(dim=1)
            exponentials = scores.sub_(peak[:, None]).mul_(1 / temperature).exp_()
            total = exponentials.sum(dim=1)
            loss += torch.dot((peak - agreement) / temperature + total.log(), weight)
            if gradient is not None:
                factor = (weight / temperature)[:, None]
                gradient[part] = exponentials.mul_(factor / total[:, None]).addcmul_(target, factor, value=-1)
        if gradient is not None:
            context.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(context: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = context.saved_tensors
        return gradient * upstream[0].to(gradient.dtype), None, None, None, None


def gather_over_processes(rows: Float[Tensor, "own width"]) -> Float[Tensor, "all width"]:
    """The rows of all processes of ``torch.distributed``, ordered by rank; with one process the rows themselves.

    Every process must have the same number of rows. The backward pass sums the gradient of a process's own rows over
    all processes. After gradients are averaged over the processes, the result is that of one process with all rows.
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


def _over_processes(value: Tensor, reduction: distributed.ReduceOp.RedOpType = distributed.ReduceOp.SUM) -> Tensor:
    """The sum or maximum of a value over all processes; with one process the value itself."""
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        value = value.clone()
        distributed.all_reduce(value, op=reduction)
    return value
