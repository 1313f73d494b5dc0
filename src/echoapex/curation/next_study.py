"""Which study is worth correcting next: one that the models are unsure of, and that is unlike those corrected before.

Uncertainty comes from the results: the entropy of the views and the predicted overlap (IoU) of the outlines. Diversity
is the distance, in the features of the encoder, to the nearest study that was corrected or is already on the list
(farthest-first traversal; Gonzalez 1985, and Sener and Savarese, "Active learning for convolutional neural networks: a
core-set approach", 2018).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_SURE_IOU = 0.95
"""A predicted overlap from which on an outline counts as certain."""
_UNKNOWN_DIVERSITY = 0.5
"""Taken for a study without features, or as long as nothing was corrected."""


@dataclass(frozen=True, eq=False)
class StudyDoubt:
    """What is known of a study that could be corrected.

    Attributes:
        study: its key.
        view_entropy: mean over its clips, from 0 (certain) to 1 (all views alike); None without clips.
        overlap: mean predicted IoU of its outlines; None without outlines.
        features: unit vectors of its clips; no rows where they are not known yet.
    """

    study: str
    view_entropy: float | None
    overlap: float | None
    features: Float[np.ndarray, "clips width"]

    @property
    def uncertainty(self) -> float:
        """From 0 (certain) to 1, of whichever of the two tasks is less certain."""
        overlap = 0.0 if self.overlap is None else min(max((_SURE_IOU - self.overlap) / _SURE_IOU, 0.0), 1.0)
        return max(self.view_entropy or 0.0, overlap)


@dataclass(frozen=True)
class NextStudy:
    """A study to correct.

    Attributes:
        study: its key.
        score: from 0 to 1.
        reason: why, in words.
    """

    study: str
    score: float
    reason: str


def entropy_of(probabilities: Collection[float]) -> float:
    """The entropy of probabilities divided by its largest value.

    >>> entropy_of([1.0, 0.0]), entropy_of([0.5, 0.5])
    (0.0, 1.0)
    """
    if len(probabilities) < 2:
        return 0.0
    bits = sum(value * math.log(1 / value) for value in probabilities if value > 0)
    return round(bits / math.log(len(probabilities)), 12)


def rank_next(
    candidates: Sequence[StudyDoubt], corrected: Float[np.ndarray, "clips width"], count: int = 5
) -> list[NextStudy]:
    """The studies worth correcting next, the best first; each is unlike those before it.

    Args:
        candidates: studies that nobody has corrected.
        corrected: features of the clips of corrected studies; no rows where there is none.
        count: how many at most.
    """
    chosen: list[NextStudy] = []
    taken, waiting = np.asarray(corrected, np.float64), list(candidates)
    while waiting and len(chosen) < count:
        rated = [(one, _diversity(one, taken)) for one in waiting]
        best, far = max(rated, key=lambda pair: (_score(*pair), pair[0].study))
        chosen.append(NextStudy(best.study, round(_score(best, far), 4), _reason(best, far)))
        waiting.remove(best)
        if len(best.features):
            taken = np.concatenate([taken.reshape(-1, best.features.shape[1]), best.features])
    return chosen


def _score(study: StudyDoubt, diversity: float | None) -> float:
    return (study.uncertainty + (_UNKNOWN_DIVERSITY if diversity is None else diversity)) / 2


def _diversity(study: StudyDoubt, taken: Float[np.ndarray, "clips width"]) -> float | None:
    """Distance from 0 to 1 of a study's most unusual clip to what was taken; None where it is not known."""
    if not len(study.features) or not len(taken):
        return None
    cosines = np.asarray(study.features, np.float64) @ taken.T
    return float(np.clip(1 - cosines.max(axis=1), 0, 1).max())


def _reason(study: StudyDoubt, diversity: float | None) -> str:
    """Why a study is worth it, in words.

    >>> _reason(StudyDoubt("a", 0.4, 0.8, np.zeros((0, 2))), None)
    'the views are unclear'
    """
    told = []
    if study.view_entropy is not None and study.view_entropy >= 0.3:
        told.append("the views are unclear")
    if study.overlap is not None and study.overlap < 0.8:
        told.append("the outlines are unsure")
    if diversity is not None and diversity >= 0.1:
        told.append("unlike what was corrected")
    return ", ".join(told) or "nothing stands out; any study helps"
