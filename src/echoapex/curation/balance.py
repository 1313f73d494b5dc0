"""Balances a frame store: first evenly over a hierarchy of clusters, then evenly over views, vendors and other factors.

Step one goes from the coarsest level of the hierarchy to the finest. Every cluster divides its share evenly among its
children, as far as they have frames (Vo et al., "Automatic data curation for self-supervised learning: a
clustering-based approach", 2024). Step two changes these shares as little as possible (in relative entropy) so that
views, vendors and other factors become even too (Darroch and Ratcliff, "Generalized iterative scaling for log-linear
models", 1972).

In both steps no frame gets more than ``most_weight`` times its even share, and none less than 1 / ``most_weight`` of
it. Where evenness is impossible within these bounds, or for all factors at once, the result comes as near as it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field, field_validator

from echoapex.config import Config
from echoapex.curation.clusters import Hierarchy

_ROUNDS = 500
_SETTLED = 1e-5
_HALVINGS = 60
Factor = Literal["view", "vendor", "quality", "probe", "content"]


def fill(
    wishes: Float[np.ndarray, "n"], even: Float[np.ndarray, "n"], most_weight: float, total: float = 1.0
) -> Float[np.ndarray, "n"]:
    """Divide ``total`` in proportion to ``wishes``, within the bounds of each.

    Args:
        wishes: unbounded amounts, up to a common factor; positive where ``even`` is positive.
        even: the even amounts; the bounds are ``even / most_weight`` and ``even * most_weight``.
        most_weight: at least 1.
        total: amount to divide; if the bounds do not permit it, the nearest possible amount.

    >>> fill(np.ones(3), np.array([0.05, 0.35, 0.6]), 2.0).round(2).tolist()
    [0.1, 0.45, 0.45]
    """
    least, most = even / most_weight, even * most_weight
    low, high = 0.0, float(np.max(most / np.where(even > 0, wishes, 1.0), initial=0.0))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if np.clip(middle * wishes, least, most).sum() < total:
            low = middle
        else:
            high = middle
    filled: Float[np.ndarray, "n"] = np.clip(high * wishes, least, most)
    return filled


def share_by_clusters(
    hierarchy: Hierarchy, even: Float[np.ndarray, "frames"], most_weight: float
) -> Float[np.ndarray, "frames"]:
    """The share of each frame if the clusters of each level divide their parent's share evenly.

    Args:
        hierarchy: clusters of the frames.
        even: the share of each without balancing; sums to one.
        most_weight: bounds what frames get.
    """
    masses = [np.bincount(hierarchy.labels, even, minlength=hierarchy.counts[0])]
    for parents, count in zip(hierarchy.parents, hierarchy.counts[1:], strict=True):
        masses.append(np.bincount(parents, masses[-1], minlength=count))
    shares = fill(np.ones(len(masses[-1])), masses[-1], most_weight)
    for parents, mass in zip(reversed(hierarchy.parents), reversed(masses[:-1]), strict=True):
        below = np.zeros(len(mass))
        for parent, share in enumerate(shares):
            children = np.flatnonzero(parents == parent)
            below[children] = fill(np.ones(len(children)), mass[children], most_weight, float(share))
        shares = below
    weights = np.divide(shares, masses[0], out=np.zeros(len(shares)), where=masses[0] > 0)
    within: Float[np.ndarray, "frames"] = even * weights[hierarchy.labels]
    return within


def even_out(
    shares: Float[np.ndarray, "frames"],
    even: Float[np.ndarray, "frames"],
    factors: Sequence[Int[np.ndarray, "frames"]],
    most_weight: float,
) -> Float[np.ndarray, "frames"]:
    """Change shares so that the groups of each factor become as even as their frames permit.

    Args:
        shares: of each frame; sum to one.
        even: the share of each without balancing.
        factors: group numbers of the frames, one array for each factor; their order does not matter.
        most_weight: bounds what frames get.
    """
    masses = [np.bincount(groups, even) for groups in factors]
    targets = [fill(np.ones(len(mass)), mass, most_weight) for mass in masses]
    for _ in range(_ROUNDS if factors else 0):
        before, change = shares, np.ones(len(shares))
        for groups, target in zip(factors, targets, strict=True):
            held = np.bincount(groups, before, minlength=len(target))
            ratio = np.divide(target, held, out=np.ones(len(target)), where=held > 0)
            change *= ratio[groups] ** (1 / len(factors))
        shares = np.clip(before * change, even / most_weight, even * most_weight)
        if np.abs(shares - before).sum() < _SETTLED:
            break
    return fill(shares, even, most_weight)


def effective_number(shares: Float[np.ndarray, "groups"]) -> float:
    """Number of equally large groups with the same diversity: the exponential of the entropy.

    Source: Hill, "Diversity and evenness: a unifying notation", 1973 (order 1).

    >>> round(effective_number(np.array([0.5, 0.5, 0.0])), 3)
    2.0
    """
    present = shares[shares > 0] / shares.sum()
    return float(np.exp(-(present * np.log(present)).sum()))


class CurationRules(Config):
    """How a frame store is sampled, clustered, thinned and balanced."""

    frames_per_clip: int = Field(default=2, ge=1, le=4096)
    """Frames of each clip that are embedded; each represents an equal stretch of the clip."""
    clusters: tuple[int, ...] = ()
    """Number of clusters level by level, finest first; by default from the size of the sample."""
    near_duplicate_bits: int = Field(default=4, ge=-1, le=255)
    """Frames of different clips are copies if their hashes differ in at most this many bits; -1: do not search."""
    least_quality: float = Field(default=0.0, ge=0, le=1)
    """Frames below this quality are left out; nearly blank frames always are."""
    colour: bool = True
    """Whether frames with colour Doppler are kept."""
    balance: tuple[Factor, ...] = ("view", "vendor", "quality")
    """Factors that are evened out, besides the clusters."""
    most_weight: float = Field(default=4.0, ge=1, le=16)
    """Largest and, inverted, smallest weight of a frame; 1 is even."""
    seed: int = Field(default=0, ge=0)

    @field_validator("clusters")
    @classmethod
    def _from_fine_to_coarse(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(count < 1 for count in value) or list(value) != sorted(set(value), reverse=True):
            raise ValueError(
                "clusters are counted from the finest level to the coarsest, each fewer, as in 1024 128 16"
            )
        return value

    @field_validator("balance")
    @classmethod
    def _each_once(cls, value: tuple[Factor, ...]) -> tuple[Factor, ...]:
        if len(set(value)) != len(value):
            raise ValueError("balance names something twice")
        return value
