"""The iBOT loss: a patch hidden from the student is to be assigned to prototypes as the teacher, who saw it, does."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from echoapex.losses.assignment_entropy import assignment_entropy


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
        patch_mask: which patches were hidden; it says how many belong to each image.
        temperature: of the student.

    Raises:
        ValueError: the mask hides another number of patches than there are rows.
    """
    counts = patch_mask.sum(dim=1)
    if int(counts.sum()) != len(student_logits):
        raise ValueError(f"the mask hides {int(counts.sum())} patches, but {len(student_logits)} rows were given")
    weights = (1 / counts.clamp_min(1)).repeat_interleave(counts) / len(patch_mask)
    return assignment_entropy(student_logits, teacher_shares, None, weights, temperature)
