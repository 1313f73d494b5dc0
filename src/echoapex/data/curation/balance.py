"""How often each frame is visited: evenly over clusters of clusters, then evenly over views, vendors and the like.

Two steps. First every level of a hierarchy of clusters shares what it is given evenly among its children, as far as
they have frames, from the coarsest to the finest (Vo et al., "Automatic data curation for self-supervised learning: a
clustering-based approach", 2024). Then these shares are changed as little as possible (in relative entropy) so that
views, vendors and the like come out evenly too: raking, which meets one of them after the other until all hold (Deming
and Stephan, 1940; Csiszar, 1975). In both, no frame goes beyond a given number of times its even share.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from echoapex.data.curation.clusters import Hierarchy

_RAKING_ROUNDS = 200
_SETTLED = 1e-6


def fill(wishes: Float[np.ndarray, "n"], most: Float[np.ndarray, "n"], total: float = 1.0) -> Float[np.ndarray, "n"]:
    """Divide ``total`` in proportion to ``wishes``, nobody getting more than ``most``; what is left goes to the others.

    Where all together may not have ``total``, each gets its most.

    >>> fill(np.ones(3), np.array([0.1, 1.0, 1.0])).round(2).tolist()
    [0.1, 0.45, 0.45]
    """
    if most.sum() <= total:
        return most.copy()
    ratio = np.divide(most, wishes, out=np.full(len(most), np.inf), where=wishes > 0)
    order = np.argsort(ratio, kind="stable")
    had = np.concatenate([[0.0], np.cumsum(most[order])[:-1]])
    wanting = np.cumsum(wishes[order][::-1])[::-1]
    scale = np.divide(total - had, wanting, out=np.zeros(len(most)), where=wanting > 0)
    fits = np.flatnonzero(scale <= ratio[order])
    filled: Float[np.ndarray, "n"] = np.minimum(wishes * scale[fits[0]], most)
    return filled


def share_by_clusters(
    hierarchy: Hierarchy, even: Float[np.ndarray, "frames"], most_weight: float
) -> Float[np.ndarray, "frames"]:
    """The share of each frame when clusters take even shares level by level.

    Args:
        hierarchy: clusters of the frames.
        even: the share of each without balancing; sums to one.
        most_weight: no frame gets more than so many times that.
    """
    masses = [np.bincount(hierarchy.labels, even, minlength=hierarchy.counts[0])]
    for parents, count in zip(hierarchy.parents, hierarchy.counts[1:], strict=True):
        masses.append(np.bincount(parents, masses[-1], minlength=count))
    shares = fill(np.ones(len(masses[-1])), most_weight * masses[-1])
    for parents, mass in zip(reversed(hierarchy.parents), reversed(masses[:-1]), strict=True):
        below = np.zeros(len(mass))
        for parent, share in enumerate(shares):
            children = np.flatnonzero(parents == parent)
            below[children] = fill(np.ones(len(children)), most_weight * mass[children], float(share))
        shares = below
    weights = np.divide(shares, masses[0], out=np.zeros(len(shares)), where=masses[0] > 0)
    within: Float[np.ndarray, "frames"] = even * weights[hierarchy.labels]
    return within


def rake(
    shares: Float[np.ndarray, "frames"],
    even: Float[np.ndarray, "frames"],
    factors: Sequence[Int[np.ndarray, "frames"]],
    most_weight: float,
) -> Float[np.ndarray, "frames"]:
    """Change shares so that each factor's groups come out as evenly as their frames permit.

    Args:
        shares: of each frame; sum to one.
        even: the share of each without balancing.
        factors: group numbers of the frames, one array for each factor.
        most_weight: no frame gets more than so many times its even share.
    """
    most = most_weight * even
    targets = []
    for groups in factors:
        most_of_group = np.bincount(groups, most)
        targets.append(fill((most_of_group > 0).astype(float), most_of_group))
    for _ in range(_RAKING_ROUNDS):
        before = shares
        for groups, target in zip(factors, targets, strict=True):
            held = np.bincount(groups, shares, minlength=len(target))
            change = np.divide(target, held, out=np.ones(len(target)), where=held > 0)
            shares = np.minimum(shares * change[groups], most)
        if np.abs(shares - before).sum() < _SETTLED:
            break
    return fill(shares, most)


def effective_number(shares: Float[np.ndarray, "groups"]) -> float:
    """How many equally large groups would be as diverse: the exponential of the entropy.

    Source: Hill, "Diversity and evenness: a unifying notation", 1973 (order 1).

    >>> round(effective_number(np.array([0.5, 0.5, 0.0])), 3)
    2.0
    """
    present = shares[shares > 0] / shares.sum()
    return float(np.exp(-(present * np.log(present)).sum()))
