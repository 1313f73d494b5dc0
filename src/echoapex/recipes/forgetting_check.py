"""What a set of weights has forgotten: two sets, scored on simulated patients whom nobody corrected.

Corrections of one site judge only what this site corrects. So before the site's set is replaced, both sets answer about
held-out patients of the phantom: the view of every clip, the outlines of every structure, and the wall end points. It
takes about a minute on one CPU core.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from pydantic import Field

from echoapex.config import Config
from echoapex.data.preprocess import prepare_image, prepare_labels
from echoapex.infer.clip.models import TaskInterpreter
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.metrics.segmentation import dice
from echoapex.phantom import PhantomClip, PhantomError, simulate_clip
from echoapex.vocabulary import Structure, View

CHECK_FILE = "check.json"
FIRST_SEED = 1_400_000
"""Training draws seeds below 800,000, and the evaluation studies begin at 1,000,000: these patients are in neither."""
PATIENTS_PER_VIEW = 6
VIEWS, WALLS = "view_accuracy", "wall_point_mm"
LARGEST_LOSS_OF_VIEWS = 0.05
"""Of the share of clips whose view is right: 5 of 108 clips. One or two clips change by chance."""
LARGEST_LOSS_OF_DICE = 0.10
"""Of the mean Dice of any structure. Sets that learned well from corrections lost 0.01 to 0.05 where nobody corrected
(docs/reference/measured-learning.md); twice the largest of these is more than the price of learning."""
LARGEST_GAIN_OF_WALL_ERROR_MM = 1.0
"""Of the mean distance of the wall end points: a tenth of a normal wall."""
_LEAST_AREA = 0.002
_STRIDE = 1_000
_ATTEMPTS = 4


class ForgettingCheck(Config):
    """Scores of two sets on the same simulated patients.

    Attributes:
        before: of the set in use, by name: ``view_accuracy``, ``dice_`` and a structure, ``wall_point_mm``.
        after: of the set that was learned.
        clips: how many clips were looked at.
        seconds: how long it took.
    """

    before: dict[str, float] = Field(default_factory=dict)
    after: dict[str, float] = Field(default_factory=dict)
    clips: int = 0
    seconds: float = 0.0

    @property
    def worse(self) -> dict[str, tuple[float, float]]:
        """The scores that are clearly worse, with the loss and the largest loss that is allowed."""
        found = {}
        for name, first in self.before.items():
            limit = largest_loss(name)
            loss = (self.after[name] - first) * (1 if name == WALLS else -1) if name in self.after else float("inf")
            if loss > limit:
                found[name] = (loss, limit)
        return found


def largest_loss(name: str) -> float:
    """By how much a score may be worse before a set is not switched to by itself.

    >>> largest_loss("dice_lv_cavity"), largest_loss("view_accuracy")
    (0.1, 0.05)
    """
    return {VIEWS: LARGEST_LOSS_OF_VIEWS, WALLS: LARGEST_GAIN_OF_WALL_ERROR_MM}.get(name, LARGEST_LOSS_OF_DICE)


def check_clips(patients: int = PATIENTS_PER_VIEW) -> Iterator[PhantomClip]:
    """The clips of the check, of every view; the same at every call."""
    for number, view in enumerate(View):
        for patient in range(patients):
            yield _simulated(view, FIRST_SEED + number * PATIENTS_PER_VIEW + patient)


def _simulated(view: View, seed: int) -> PhantomClip:
    """A clip at end-diastole and in systole; another patient where no plane of this one shows the view."""
    for attempt in range(_ATTEMPTS):
        try:
            return simulate_clip(view, seed + attempt * _STRIDE, frames=2, label_frames="all")
        except PhantomError:
            continue
    raise PhantomError(f"view {view}: no plane found for seed {seed} and its replacements")


def score_set(models: TaskInterpreter, clips: list[PhantomClip]) -> dict[str, float]:
    """The scores of a set on simulated clips.

    Args:
        models: the set.
        clips: with label maps on all frames.
    """
    views: list[bool] = []
    overlaps: dict[Structure, list[float]] = {}
    distances_mm: list[float] = []
    for clip in clips:
        prepared = [prepare_image(frame, clip.sector, models.input_size) for frame in clip.frames]
        transform = prepared[0][1]
        encoded = models.encode(np.stack([pixels for pixels, _ in prepared]), tuple(clip.frame_times_s.tolist()))
        views.append(models.classify_view(encoded).view is clip.view)
        for frame, labels in clip.labels.items():
            truth = prepare_labels(labels, transform)
            shown = [one for one in Structure if np.mean(truth == int(one)) > _LEAST_AREA]
            for _, masks, _ in models.segment(encoded, [frame], shown):
                for structure, mask in zip(shown, masks, strict=True):
                    overlaps.setdefault(structure, []).append(dice(mask > 0.5, truth == int(structure)))
        if clip.walls is not None:
            points = transform.map_points(np.array(list(clip.walls.points_xy.values())))
            mm = transform.map_spacing(clip.spacing).row_mm
            for _, found, _ in models.find_wall_points(encoded, [clip.ed_frame]):
                distances_mm += (np.linalg.norm(found - points, axis=1) * mm).tolist()
    scores = {VIEWS: float(np.mean(views))}
    scores |= {f"dice_{one.key}": float(np.mean(overlaps[one])) for one in Structure if one in overlaps}
    return scores | ({WALLS: float(np.mean(distances_mm))} if distances_mm else {})


def check_forgetting(
    before: str, after: str, device: str = "cpu", patients: int = PATIENTS_PER_VIEW
) -> ForgettingCheck:
    """Score the set in use and the set that was learned on the same simulated patients.

    Args:
        before: name or folder of the set in use.
        after: of the set that was learned.
        device: where the models run.
        patients: of each view.

    Raises:
        BundleError: a set is missing or damaged.
    """
    began = time.monotonic()
    clips = list(check_clips(patients))
    scores = [score_set(TaskInterpreter.load(name, device), clips) for name in (before, after)]
    return ForgettingCheck(
        before=_rounded(scores[0]), after=_rounded(scores[1]), clips=len(clips), seconds=time.monotonic() - began
    )


def _rounded(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in scores.items()}


def write_check(out: str, before: str, after: str, device: str, patients: str) -> None:
    """Write ``check.json`` into a folder: what a process of its own runs, with the words of its command."""
    found = check_forgetting(before, after, device, int(patients))
    write_bytes_atomically(Path(out) / CHECK_FILE, (found.model_dump_json(indent=1) + "\n").encode())


def read_check(folder: Path) -> ForgettingCheck | None:
    """What ``write_check`` wrote; None where there is none, or it is damaged."""
    try:
        return ForgettingCheck.model_validate_json((folder / CHECK_FILE).read_bytes())
    except (OSError, ValueError):
        return None


def why_not_switched(check: ForgettingCheck | None) -> str:
    """Why a set that is better on corrections is not used by itself; empty where it may be.

    >>> why_not_switched(ForgettingCheck(before={"view_accuracy": 1.0}, after={"view_accuracy": 0.8}))
    'on simulated patients it is clearly worse than the set in use: views fell by 0.20 (at most 0.05)'
    """
    if check is None:
        return "what it may have forgotten could not be checked; look at the log of the run"
    parts = []
    for name, (loss, limit) in check.worse.items():
        what = name.removeprefix("dice_").replace("_", " ").replace("lv ", "LV ")
        words = {"view_accuracy": f"views fell by {loss:.2f}", "wall_point_mm": f"wall points moved by {loss:.1f} mm"}
        parts.append(f"{words.get(name, f'outlines of the {what} fell by {loss:.2f}')} (at most {limit:g})")
    return f"on simulated patients it is clearly worse than the set in use: {', '.join(parts)}" if parts else ""
