"""Scores of interactive segmentation: the content of ``clicks.json``, and following a clip from one corrected frame.

Scores are means over cases with intervals that resample patients; each comes with its count.

Following a clip is a protocol: one frame is corrected by clicks and propagated to the whole clip. Dice is computed on
all other labelled frames, and compared with automatic segmentation of the same frames. The flicker of the area is
measured by the **jitter** of the area curve: the root mean square of its second difference, divided by its mean. It is
small for a curve that rises and falls smoothly, and large for one that jumps from frame to frame. The jitter of the
truth shows how much is real motion.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import Bool
from numpy.typing import ArrayLike
from pydantic import Field

from echoapex.config import Config
from echoapex.evaluate.cases import MIN_VISIBLE_FRACTION
from echoapex.evaluate.clicks import ClickCase, ClickProtocol, ClickRun, InteractiveModel, Logits, SimulatedPerson
from echoapex.evaluate.metrics_file import Score, score_mean
from echoapex.evaluate.reference import LabelMaps, ReferenceClip
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.metrics import dice
from echoapex.vocabulary import Structure, View

CLICKS_VERSION: Literal["1.0"] = "1.0"
REPORTED_CLICKS = (1, 2, 3, 5, 10)

ClipMasks = Bool[np.ndarray, "frames height width"]

LEAST_LABELLED_FRAMES = 5
"""Clips with fewer labelled frames are not followed."""


class ClickCurve(Config):
    """Dice by the number of clicks, and the number of clicks to the target."""

    curve: tuple[float, ...] = Field(default=(), description="mean Dice after 0, 1, 2, ... clicks")
    dice: dict[int, Score] = Field(
        default_factory=dict, description="Dice after 1, 2, 3, 5 and 10 clicks, up to the cap"
    )
    noc: Score = Field(
        default=Score(), description="clicks to the target Dice; a case that never reaches it counts as the cap"
    )
    never: Score = Field(default=Score(), description="share of the cases that never reach the target within the cap")
    worsened: Score = Field(default=Score(), description="share of the clicks that lowered Dice by more than 0.001")
    obeyed: Score = Field(
        default=Score(), description="share of the clicks with which the answer agrees at the place of the click"
    )
    negative: Score = Field(default=Score(), description="share of the clicks that were negative")


class PromptScores(Config):
    """Scores by kind of prompt; three of them are empty (n = 0) if the model does not know names."""

    name: Score = Score()
    box: Score = Score()
    box_and_name: Score = Score()
    from_nothing: ClickCurve = ClickCurve()
    without_mask: ClickCurve = Field(default=ClickCurve(), description="clicks alone, without the earlier mask")
    from_name: ClickCurve = ClickCurve()


class FollowingScores(Config):
    """Scores of clips followed from one corrected frame; all are means over structures of clips."""

    clicks: int = Field(description="largest number of clicks on the corrected frame")
    corrected_dice: Score = Field(default=Score(), description="on the corrected frame")
    dice: Score = Field(default=Score(), description="on all other labelled frames")
    automatic_dice: Score = Field(default=Score(), description="on the same frames without any click")
    jitter: Score = Field(default=Score(), description="RMS second difference of the area curve, divided by its mean")
    automatic_jitter: Score = Field(default=Score(), description="jitter of automatic segmentation")
    true_jitter: Score = Field(default=Score(), description="jitter of the truth, which is real motion")


class ClicksFile(Config):
    """The whole of ``clicks.json``."""

    clicks_version: Literal["1.0"] = CLICKS_VERSION
    echoapex_version: str
    dataset: str
    split: str
    model: str = Field(description="set of weights, or the name of a peer")
    refinement: str = Field(default="", description="how corrections are made: merged, decoder or brush")
    bundles: dict[str, str] = Field(default_factory=dict, description="bundle: sha256 of its weights")
    protocol: ClickProtocol
    patients: int
    images: int
    overall: PromptScores
    structures: dict[str, PromptScores] = Field(description="by the key of each structure that occurs")
    following: FollowingScores | None = Field(default=None, description="None if no clip has enough labelled frames")

    def of(self, structure: Structure) -> PromptScores:
        """Scores of one structure; empty if it did not occur."""
        return self.structures.get(structure.key, PromptScores())


class FollowableClip(Protocol):
    """A clip that is encoded once; masks are in native pixels."""

    @property
    def segmenter(self) -> InteractiveModel:
        """The model that answers prompts on single frames."""
        ...

    def frame(self, number: int) -> Any:
        """One encoded frame."""
        ...

    def automatic_masks(self, structure: Structure) -> ClipMasks:
        """Masks of all frames without clicks."""
        ...

    def propagate(self, number: int, corrected: Logits, structure: Structure | None = None) -> ClipMasks:
        """Masks of all frames, propagated from the corrected frame."""
        ...


OpenClip = Callable[[Path], FollowableClip]
"""A function that reads and encodes the clip of a file."""


@dataclass(frozen=True)
class FollowedClip:
    """Result of following one structure of one clip.

    Attributes:
        patient: name of the patient.
        clip: name of the clip.
        view: the true view.
        structure: the structure that was followed.
        frame: the corrected frame.
        frames: number of other labelled frames.
        corrected_dice: Dice on the corrected frame.
        dice: mean Dice on the other labelled frames, propagated from the corrected frame.
        automatic_dice: mean Dice on the same frames without clicks.
        jitter: jitter of the propagated area over all labelled frames.
        automatic_jitter: jitter without clicks.
        true_jitter: jitter of the truth.
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
    """Root mean square of the second difference of an area curve, divided by its mean; without unit.

    Args:
        areas: areas of consecutive frames, at least three, not all zero.

    Raises:
        ValueError: there are fewer than three areas, or all are zero.

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
    """Follow every structure that is visible on all labelled frames, starting from the first of these frames.

    Args:
        open_clip: opens a clip with the model.
        patient: name of the patient.
        reference: the clip and its truth.
        protocol: its cap limits ``clicks``.
        clicks: number of clicks that correct the first frame.

    Returns:
        One result per structure; empty if too few frames are labelled.
    """
    labels = reference.read_labels()
    if not can_be_followed(labels):
        return []
    # data sets of the protocol give every view
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


def score_prompts(cases: Sequence[ClickCase], protocol: ClickProtocol) -> PromptScores:
    """Scores of all given cases together."""
    return PromptScores(
        name=_score(cases, lambda case: case.name),
        box=_score(cases, lambda case: case.box),
        box_and_name=_score(cases, lambda case: case.box_and_name),
        from_nothing=_score_runs([(case.patient, case.from_nothing) for case in cases], protocol),
        without_mask=_score_runs([(case.patient, case.without_mask) for case in cases], protocol),
        from_name=_score_runs([(case.patient, case.from_name) for case in cases if case.from_name], protocol),
    )


def score_structures(cases: Sequence[ClickCase], protocol: ClickProtocol) -> dict[str, PromptScores]:
    """Scores of each structure that occurs, by its key."""
    return {
        structure.key: score_prompts(chosen, protocol)
        for structure in Structure
        if (chosen := [case for case in cases if case.structure is structure])
    }


def score_following(clips: Sequence[FollowedClip], clicks: int) -> FollowingScores | None:
    """Scores of followed clips; None if there are none."""
    if not clips:
        return None
    patients = [clip.patient for clip in clips]
    return FollowingScores(
        clicks=clicks,
        corrected_dice=score_mean([clip.corrected_dice for clip in clips], patients),
        dice=score_mean([clip.dice for clip in clips], patients),
        automatic_dice=score_mean([clip.automatic_dice for clip in clips], patients),
        jitter=score_mean([clip.jitter for clip in clips], patients),
        automatic_jitter=score_mean([clip.automatic_jitter for clip in clips], patients),
        true_jitter=score_mean([clip.true_jitter for clip in clips], patients),
    )


def write_click_cases(path: Path, cases: Sequence[ClickCase]) -> None:
    """Write a CSV table with one row per case."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    most = max((len(case.from_nothing.dice) for case in cases), default=1)
    counts = range(most)
    rows.writerow(
        ["patient", "clip", "view", "frame", "structure", "name", "box", "box_and_name"]
        + [f"{start}_{count}" for start in ("from_nothing", "without_mask", "from_name") for count in counts]
    )
    for case in cases:
        runs = (case.from_nothing, case.without_mask, case.from_name)
        prompts = (case.name, case.box, case.box_and_name)
        rows.writerow(
            [case.patient, case.clip, case.view.value, case.frame, case.structure.key, *map(_cell, prompts)]
            + [_cell(run.dice[count] if run else None) for run in runs for count in counts]
        )
    write_bytes_atomically(path, text.getvalue().encode())


def _mean_dice(truth: Sequence[np.ndarray] | ClipMasks, found: Sequence[np.ndarray] | ClipMasks) -> float:
    return float(np.mean([dice(a, b) for a, b in zip(truth, found, strict=True)]))


def _jitter(masks: ClipMasks) -> float:
    """Jitter of the area; infinite if the structure was found on no frame, so that losing it is not rewarded."""
    areas = masks.sum(axis=(1, 2))
    return area_jitter(areas) if areas.any() else float("inf")


def _score(cases: Sequence[ClickCase], value_of: Callable[[ClickCase], float | None]) -> Score:
    known = [(case.patient, value) for case in cases if (value := value_of(case)) is not None]
    return score_mean([value for _, value in known], [patient for patient, _ in known])


def _score_runs(runs: Sequence[tuple[str, ClickRun]], protocol: ClickProtocol) -> ClickCurve:
    if not runs:
        return ClickCurve()
    patients = [patient for patient, _ in runs]
    needed = [run.clicks_to(protocol.target_dice) for _, run in runs]
    made = [(patient, len(run.positive), run) for patient, run in runs if run.positive]
    return ClickCurve(
        curve=tuple(
            round(sum(run.dice[count] for _, run in runs) / len(runs), 6) for count in range(protocol.clicks + 1)
        ),
        dice={
            count: score_mean([run.dice[count] for _, run in runs], patients)
            for count in REPORTED_CLICKS
            if count <= protocol.clicks
        },
        noc=score_mean([float(protocol.clicks if count is None else count) for count in needed], patients),
        never=score_mean([float(count is None) for count in needed], patients),
        worsened=score_mean([run.worsened / count for _, count, run in made], [patient for patient, _, _ in made]),
        obeyed=score_mean([sum(run.obeyed) / count for _, count, run in made], [patient for patient, _, _ in made]),
        negative=score_mean(
            [1 - sum(run.positive) / count for _, count, run in made], [patient for patient, _, _ in made]
        ),
    )


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}"
