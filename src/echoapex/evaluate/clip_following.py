"""Propagation as a protocol: one frame is corrected by clicks, and the clip is followed from there.

Dice is taken on all other labelled frames, against the automatic pass on the same frames. How much the area flickers is
the **jitter** of the area curve: the root mean square of its second difference over its mean. A curve that rises and
falls evenly has little, one that jumps from frame to frame has much; the truth's own jitter says how much is motion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool
from numpy.typing import ArrayLike

from echoapex.evaluate.cases import MIN_VISIBLE_FRACTION
from echoapex.evaluate.clicks import ClickProtocol, InteractiveModel, Logits, SimulatedPerson
from echoapex.evaluate.reference import LabelMaps, ReferenceClip
from echoapex.metrics import dice
from echoapex.vocabulary import Structure, View

ClipMasks = Bool[np.ndarray, "frames height width"]

LEAST_LABELLED_FRAMES = 5
"""Fewer labelled frames are no clip to follow."""


class FollowableClip(Protocol):
    """A clip, encoded once, in native pixels."""

    @property
    def segmenter(self) -> InteractiveModel:
        """The model that answers prompts on single frames."""
        ...

    def frame(self, number: int) -> Any:
        """One frame as the model keeps it."""
        ...

    def automatic_masks(self, structure: Structure) -> ClipMasks:
        """Masks of all frames without any click."""
        ...

    def propagate(self, number: int, corrected: Logits, structure: Structure | None = None) -> ClipMasks:
        """Masks of all frames from the corrected one."""
        ...


OpenClip = Callable[[Path], FollowableClip]
"""Reads and encodes the clip of a file."""


@dataclass(frozen=True)
class FollowedClip:
    """One structure of one clip.

    Attributes:
        patient: whose heart it is.
        clip: the clip in words.
        view: the true view.
        structure: what was followed.
        frame: the corrected frame.
        frames: labelled frames but for that one.
        corrected_dice: on the corrected frame.
        dice: mean over the other labelled frames, from the corrected frame.
        automatic_dice: mean over the same frames without any click.
        jitter: of the area curve over all labelled frames, from the corrected frame.
        automatic_jitter: without any click.
        true_jitter: of the truth.
    """

    patient: str
    clip: str
    view: View
    structure: Structure
    frame: int
    frames: int
    corrected_dice: float
    dice: float
    automatic_dice: float
    jitter: float
    automatic_jitter: float
    true_jitter: float


def area_jitter(areas: ArrayLike) -> float:
    """Root mean square of the second difference of an area curve over its mean; without unit.

    Args:
        areas: areas of consecutive frames, at least three, not all zero.

    Raises:
        ValueError: fewer than three areas, or all are zero.

    >>> area_jitter([10, 12, 14, 16])
    0.0
    >>> area_jitter([10, 12, 10, 12])
    0.36363636363636365
    """
    curve = np.asarray(areas, float)
    if curve.ndim != 1 or len(curve) < 3 or not curve.mean() > 0:
        raise ValueError("jitter needs the areas of at least three frames, not all of them zero")
    return float(np.sqrt(np.mean(np.diff(curve, 2) ** 2)) / curve.mean())


def can_be_followed(labels: LabelMaps) -> bool:
    """Whether enough consecutive frames are labelled."""
    frames = sorted(labels)
    return len(frames) >= LEAST_LABELLED_FRAMES and frames == list(range(frames[0], frames[-1] + 1))


def follow_clip(
    open_clip: OpenClip, patient: str, reference: ReferenceClip, protocol: ClickProtocol, clicks: int = 5
) -> list[FollowedClip]:
    """Follow every structure that is visible on all labelled frames, from the first of them.

    Args:
        open_clip: the model.
        patient: whose clip it is.
        reference: the clip and its truth; empty where too few frames are labelled.
        protocol: its cap bounds ``clicks``.
        clicks: how many clicks correct the first frame.
    """
    labels = reference.read_labels()
    if not can_be_followed(labels):
        return []
    # data sets of the protocol tell every view
    assert reference.view is not None
    clip = open_clip(reference.path)
    frames = sorted(labels)
    followed = []
    for structure in reference.structures:
        truth = np.stack([labels[frame] == structure for frame in frames])
        if truth.mean(axis=(1, 2)).min() < MIN_VISIBLE_FRACTION:
            continue
        person = SimulatedPerson(clip.segmenter, clip.frame(frames[0]), truth[0])
        run, logits = person.click_to_logits(min(clicks, protocol.clicks), structure)
        assert logits is not None
        automatic = clip.automatic_masks(structure)[frames]
        carried = clip.propagate(frames[0], logits, structure)[frames]
        followed.append(
            FollowedClip(
                patient=patient,
                clip=reference.name,
                view=reference.view,
                structure=structure,
                frame=frames[0],
                frames=len(frames) - 1,
                corrected_dice=run.dice[-1],
                dice=_mean_dice(truth[1:], carried[1:]),
                automatic_dice=_mean_dice(truth[1:], automatic[1:]),
                jitter=_jitter(carried),
                automatic_jitter=_jitter(automatic),
                true_jitter=_jitter(truth),
            )
        )
    return followed


def _mean_dice(truth: Sequence[np.ndarray] | ClipMasks, found: Sequence[np.ndarray] | ClipMasks) -> float:
    return float(np.mean([dice(a, b) for a, b in zip(truth, found, strict=True)]))


def _jitter(masks: ClipMasks) -> float:
    """Jitter of the area; infinite where the structure was found on no frame, so that nothing is won by losing it."""
    areas = masks.sum(axis=(1, 2))
    return area_jitter(areas) if areas.any() else float("inf")
