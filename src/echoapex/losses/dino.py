"""The DINO loss: every crop of an image is to be assigned to prototypes as the teacher assigns the global crops."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


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
    with torch.autocast(student_logits.device.type, enabled=False):
        scores = student_logits.float() / temperature
        shares = teacher_shares.float()
        # the entropy is linear in the teacher's shares, so a crop meets the sum of all, less the share of itself
        agreement = (scores * shares.sum(dim=0)).sum(dim=-1).mean(dim=-1).sum()
        itself = (scores[:global_crops] * shares).sum(dim=-1).mean(dim=-1).sum()
        partition = torch.logsumexp(scores, dim=-1).mean(dim=-1)
        normaliser = (global_crops - 1) * partition[:global_crops].sum() + global_crops * partition[global_crops:].sum()
        return (normaliser - (agreement - itself)) / pairs
