"""Is an encoder that learns without labels still healthy: how many directions its features use, and what they know."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

_VOTE_TEMPERATURE = 0.07


def effective_rank(features: Float[Tensor, "samples width"]) -> float:
    """How many directions the features spread over: the exponential of the entropy of their singular values.

    From 1 (all on one line) to the smaller of width and samples less one; the mean is taken off first, so that features
    that are all the same have rank 0.

    Sources: Roy and Vetterli, "The effective rank", 2007; Garrido et al., "RankMe", 2023.
    """
    centred = features.double() - features.double().mean(dim=0)
    values = torch.linalg.svdvals(centred)
    total = float(values.sum())
    if total <= 1e-9 * max(1.0, float(features.abs().max())) * values.numel():
        return 0.0
    shares = values / total
    return float(torch.exp(torch.special.entr(shares).sum()))


def assignment_entropies(shares: Float[Tensor, "samples prototypes"]) -> tuple[float, float]:
    """Entropy of the mean assignment, and mean entropy of the assignments; both over that of an even one, 0 to 1.

    The first falls to 0 when everything goes to one prototype, the second rises to 1 when nothing is told apart: the
    two ways in which self-distillation collapses (Caron et al., "DINO", 2021, section 5.3).
    """
    even = torch.log(torch.tensor(float(shares.shape[1])))
    of_mean = torch.special.entr(shares.mean(dim=0)).sum() / even
    mean_of = torch.special.entr(shares).sum(dim=1).mean() / even
    return float(of_mean), float(mean_of)


def nearest_view_accuracy(
    features: Float[Tensor, "samples width"],
    view: Int[Tensor, "samples"],
    clip: Int[Tensor, "samples"],
    neighbours: int = 10,
) -> float | None:
    """How often the nearest frames of other clips, voting by their cosine, agree with a frame's view.

    Source: Wu et al., "Unsupervised feature learning via non-parametric instance discrimination", 2018, section 3.4
    (weighted votes at a temperature of 0.07).

    Args:
        features: of whole frames.
        view: true view; frames with a negative one are left out.
        clip: frames of the same clip do not vote for each other.
        neighbours: how many vote.

    Returns:
        A share of the frames with a known view, or ``None`` where they come from fewer than two clips.
    """
    known = view >= 0
    view, clip = view[known], clip[known]
    if bool((clip == clip[:1]).all()):
        return None
    directions = functional.normalize(features[known].float(), dim=-1)
    cosines = (directions @ directions.T).masked_fill(clip[:, None] == clip[None], -torch.inf)
    nearest, index = cosines.topk(min(neighbours, len(view) - 1), dim=1)
    votes = torch.zeros(len(view), int(view.max()) + 1, device=features.device)
    votes.scatter_add_(1, view[index], torch.exp((nearest - nearest[:, :1]) / _VOTE_TEMPERATURE))
    return float((votes.argmax(dim=1) == view).float().mean())


def linear_view_accuracy(
    features: Float[Tensor, "samples width"],
    view: Int[Tensor, "samples"],
    clip: Int[Tensor, "samples"],
    ridge: float = 0.1,
) -> float | None:
    """How often a linear classifier, fitted on half of the clips by least squares, knows the view of the other half.

    Both halves take their turn. Features are standardised by those that are fitted; ``ridge`` is the penalty over their
    number.

    Source: Hoerl and Kennard, "Ridge regression", 1970; one-hot targets as in Rifkin et al., "Regularized least-squares
    classification", 2003.

    Args:
        features: of whole frames.
        view: true view; frames with a negative one are left out.
        clip: frames of the same clip are in the same half.
        ridge: strength of the penalty.

    Returns:
        A share of the frames with a known view, or ``None`` where no view has two clips.
    """
    known = view >= 0
    features, view, clip = features[known].double(), view[known], clip[known]
    half_of = _halves(view, clip)
    if int(half_of.sum()) in (0, len(view)):
        return None
    targets = functional.one_hot(view).double()
    hits = 0
    for half in (0, 1):
        fitted, judged = half_of == half, half_of != half
        mean, deviation = features[fitted].mean(dim=0), features[fitted].std(dim=0, unbiased=False).clamp_min(1e-6)
        rows, centre = (features[fitted] - mean) / deviation, targets[fitted].mean(dim=0)
        normal = rows.T @ rows + ridge * len(rows) * torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
        weights = torch.linalg.solve(normal, rows.T @ (targets[fitted] - centre))
        guessed = ((features[judged] - mean) / deviation @ weights + centre).argmax(dim=1)
        hits += int((guessed == view[judged]).sum())
    return hits / len(view)


def _halves(view: Int[Tensor, "samples"], clip: Int[Tensor, "samples"]) -> Int[Tensor, "samples"]:
    """0 or 1 for each frame, the same for all of a clip; the clips of a view take turns."""
    clips, number = torch.unique(clip, return_inverse=True)
    view_of = torch.zeros(len(clips), dtype=view.dtype, device=view.device)
    view_of[number] = view
    half_of = torch.zeros(len(clips), dtype=torch.int64, device=view.device)
    for each in torch.unique(view_of):
        members = torch.nonzero(view_of == each)[:, 0]
        half_of[members] = torch.arange(len(members), device=view.device) % 2
    return half_of[number]
