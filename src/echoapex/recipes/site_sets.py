"""A site's own sets of weights: numbered versions, each made of the version before and of one run of learning.

A version is a folder ``site/N``, a complete set as :mod:`echoapex.models.registry` reads it: the encoder and the tasks
of the set that the site began with, with the tasks that were learned since in their place. ``lineage.json`` in it says
what it came from and why it was kept. Versions are never changed; which one is used is the site's own setting.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from echoapex.config import Config
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.models.bundle import BundleError, read_card, replace_directory
from echoapex.models.registry import ENCODER, SetPaths, find_set, verify_set
from echoapex.recipes.forgetting_check import ForgettingCheck
from echoapex.train.journal import BEFORE_FIRST_STEP, JOURNAL_FILE, read_figures, read_journal
from echoapex.vocabulary import Application

LINEAGE_FILE = "lineage.json"
RECIPES = {
    Application.SEGMENTATION: "corrections_segmentation",
    Application.VIEW_CLASSIFICATION: "corrections_views",
    Application.LV_WALL: "corrections_walls",
}
"""The recipe by which each task learns from corrections."""


class RunOutcome(Config):
    """How good a run is on the patients that it did not learn from.

    Attributes:
        before: validation figures of the weights that it started from.
        after: of what it learned; empty before its end.
        step: updates done.
        steps: updates of the whole run; 0 where they are not known yet.
    """

    before: dict[str, float] = Field(default_factory=dict)
    after: dict[str, float] = Field(default_factory=dict)
    step: int = 0
    steps: int = 0

    @property
    def is_better(self) -> bool:
        """Whether it is better: mean Dice of outlines, accuracy of views of single frames, distance of wall points."""
        first, last = main_score(self.before), main_score(self.after)
        return first is not None and last is not None and last > first


class SiteLineage(Config):
    """What a version came from.

    Attributes:
        version: its number.
        task: the application that was learned.
        base: the set that the site began with.
        previous: the version that was used when it was made; None for the set that the site began with.
        run: name of the run of learning.
        made: when, UTC.
        before: scores on the patients held back before learning.
        after: and after it.
        labels: what it learned from: corrected clips, patients who teach, patients who judge.
        check: scores on simulated patients beside those of the set before; None where there was no check.
    """

    version: int
    task: Application
    base: str
    previous: int | None = None
    run: str
    made: str
    before: dict[str, float] = Field(default_factory=dict)
    after: dict[str, float] = Field(default_factory=dict)
    labels: dict[str, int] = Field(default_factory=dict)
    check: ForgettingCheck | None = None


def main_score(figures: Mapping[str, float]) -> float | None:
    """The one number by which two sets are compared, higher being better; None where there is nothing to score.

    >>> main_score({"dice_lv_cavity": 0.9, "dice_left_atrium": 0.8}), main_score({"view_temperature": 1.2})
    (0.8500000000000001, None)
    >>> main_score({"wall_point_px": 3.5, "ivs_px": 1.0})
    -3.5
    """
    dice = [value for name, value in figures.items() if name.startswith("dice_")]
    if dice:
        return sum(dice) / len(dice)
    return -figures["wall_point_px"] if "wall_point_px" in figures else figures.get("view_frame_accuracy")


def read_outcome(run: Path, steps: int = 0) -> RunOutcome:
    """How far a run is, and how good, from its journal; ``after`` counts only at its last step."""
    entries = read_journal(run / JOURNAL_FILE)
    figures = read_figures(run / JOURNAL_FILE)
    step = 1 + max((int(entry["step"]) for entry in entries), default=BEFORE_FIRST_STEP)
    scored = any("scores" in entry and int(entry["step"]) + 1 == steps for entry in entries)
    return RunOutcome(before=figures.start, after=figures.latest if scored else {}, step=step, steps=steps)


class SiteSets:
    """The versions of a site.

    Args:
        folder: ``STATE/site``.
        base: name or folder of the set that the site began with.
    """

    def __init__(self, folder: Path, base: str) -> None:
        self._folder = folder
        self._base = base

    def versions(self) -> list[int]:
        """The numbers of all versions, ascending."""
        found = (place.name for place in self._folder.iterdir()) if self._folder.is_dir() else ()
        return sorted(int(name) for name in found if name.isdecimal())

    def place(self, version: int) -> Path:
        """Folder of a version."""
        return self._folder / str(version)

    def lineage(self, version: int) -> SiteLineage:
        """What a version came from.

        Raises:
            BundleError: there is no such version, or its lineage is damaged.
        """
        path = self.place(version) / LINEAGE_FILE
        try:
            return SiteLineage.model_validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise BundleError(f"site/{version}: its {LINEAGE_FILE} is missing or damaged; switch to another") from error

    def start_of(self, task: Application, current: int | None) -> str:
        """The set that a run of a task goes on from: the current version where it has the task, else the first set.

        Raises:
            BundleError: neither has the task.
        """
        for candidate in (*([] if current is None else [str(self.place(current))]), self._base):
            if task.value in find_set(candidate).bundles:
                return candidate
        raise BundleError(f"{self._base}: has no {task.value} of its own; serve with a set that has")

    def compose(self, bundles: Path, lineage: SiteLineage, place: Path) -> None:
        """Make a complete set of what a run learned and of the version before, to be looked at before it is kept.

        A view classifier that reads the masks of an earlier segmentation does not fit a new one, and is left out; the
        default set answers in its place.

        Args:
            bundles: what the run wrote.
            lineage: of the set.
            place: folder of the set; it appears when it is complete.

        Raises:
            BundleError: the parts do not belong together.
        """
        place.parent.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        draft = workshop / place.name
        try:
            shutil.copytree(bundles / ENCODER, draft / ENCODER)
            shutil.copytree(bundles / lineage.task.value, draft / lineage.task.value)
            self._add_other_tasks(draft, lineage)
            problems = [check.problem for check in verify_set(SetPaths(place.name, draft)) if check.problem]
            if problems:
                raise BundleError("; ".join(problems))
            replace_directory(draft, place)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)

    def add(self, composed: Path, lineage: SiteLineage) -> int:
        """Keep a set that ``compose`` has made as the next version; returns its number.

        Args:
            composed: folder of the set.
            lineage: of the version; its number is set here.
        """
        version = 1 + max(self.versions(), default=0)
        self._folder.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(prefix=f".{version}-", dir=self._folder))
        draft = workshop / str(version)
        try:
            shutil.copytree(composed, draft)
            numbered = lineage.model_copy(update={"version": version})
            write_bytes_atomically(draft / LINEAGE_FILE, (numbered.model_dump_json(indent=1) + "\n").encode())
            replace_directory(draft, self.place(version))
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
        return version

    def _add_other_tasks(self, draft: Path, lineage: SiteLineage) -> None:
        encoder = read_card(draft / ENCODER).files
        sources = [] if lineage.previous is None else [find_set(self.place(lineage.previous))]
        for source in (*sources, find_set(self._base)):
            for name, place in source.bundles.items():
                target = draft / name
                if target.exists() or read_card(source.encoder).files != encoder:
                    continue
                reads_masks = "segmentation_sha256" in read_card(place).architecture
                if not (reads_masks and _segmentation_differs(draft, place)):
                    shutil.copytree(place, target)


def _segmentation_differs(draft: Path, view: Path) -> bool:
    """Whether the segmentation of a draft is another than the one whose masks a view classifier reads."""
    place, beside = draft / Application.SEGMENTATION.value, view.parent / Application.SEGMENTATION.value
    if not place.is_dir():
        return False
    new, old = read_card(place), read_card(beside)
    return (new.files, new.adapter_sha256) != (old.files, old.adapter_sha256)
