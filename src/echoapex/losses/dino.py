"""The DINO loss: every crop of an image is to be assigned to prototypes as the teacher assigns the global crops."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from echoapex.losses.assignment_entropy import assignment_entropy


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
    return assignment_entropy(student_logits.flatten(0, 1), wished, targets, weights, temperature)
