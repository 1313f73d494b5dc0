"""The content of ``card.json``: everything that the page of the card shows, and its JSON Schema.

``python -m echoapex.evaluate.card.card_file docs/reference/card.schema.json`` writes the schema.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from echoapex.config import Config
from echoapex.domain.results import DISCLAIMER
from echoapex.evaluate.click_scores import ClicksFile
from echoapex.evaluate.metrics_file import Confusion, Reliability, Score, SubgroupScores
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.vocabulary import Application, Quantity, Structure, View

CARD_VERSION: Literal["1.0"] = "1.0"
SUITE: Literal["echoapex28"] = "echoapex28"

Point = tuple[float, float]


class Goal(Config):
    """A goal of this project on a data set, and whether it was met."""

    value: float
    met: bool


class Published(Config):
    """A published figure on the same data set; its split and protocol may differ."""

    value: float
    source: str
    of: str = Field(default="", description="the part of the data that it refers to; empty for all")


class Detail(Config):
    """An additional score of a metric."""

    name: str
    unit: str = ""
    score: Score
    goal: Goal | None = None
    published: tuple[Published, ...] = ()


class Measured(Config):
    """One metric of one part."""

    part: str
    subject: str = Field(default="", description="what was scored, if it is not one of the 28 sub-tasks")
    metric: str
    route: str = Field(default="", description="the method, if there is more than one")
    unit: str = Field(default="", description="mm or points; empty for shares")
    higher_is_better: bool
    score: Score
    exact_interval: tuple[float, float] | None = Field(
        default=None,
        description="95 % interval of Clopper and Pearson, in which each patient counts once; given if all patients "
        "have the same value, because the bootstrap interval then has no width",
    )
    details: tuple[Detail, ...] = ()
    notes: tuple[str, ...] = Field(default=(), description="what else could not be measured, and why")
    goal: Goal | None = None
    published: tuple[Published, ...] = ()

    @property
    def shown_interval(self) -> tuple[float, float] | None:
        """The exact interval if there is one, else the bootstrap interval."""
        return self.exact_interval or self.score.interval


class NotMeasured(Config):
    """Why a part has no score of a sub-task."""

    part: str
    reason: str


class SubTaskRow(Config):
    """One of the 28 sub-tasks: the scores of each part, or why it has none."""

    number: int = Field(ge=1, le=28)
    key: str = Field(description="application/subject, for example segmentation/lv_cavity")
    application: Application
    name: str
    measured: tuple[Measured, ...] = ()
    not_measured: tuple[NotMeasured, ...] = ()


class Part(Config):
    """One data set that was scored with one set of weights."""

    name: str
    dataset: str
    split: str
    studies: int
    studies_without_results: int
    clips: int
    simulated: bool = Field(default=False, description="the patients are simulated; nothing here is from a person")
    views_given: bool = Field(description="the true views were given to the analysis")
    ejection_fraction_method: Quantity
    ejection_fraction_reference: str
    echoapex_version: str = Field(description="the version that scored it")
    bundles: dict[str, str] = Field(default_factory=dict, description="bundle: sha256 of its weights")
    licence: str = Field(
        default="", description="licence of the data, in words; empty for simulated patients and for own data"
    )
    citation: str = Field(default="", description="what to cite for the data")
    notes: tuple[str, ...] = Field(default=(), description="which data were not scored, and why")


class PartConfusion(Config):
    """The confusion matrix of the views of one part."""

    part: str
    confusion: Confusion


class PartReliability(Config):
    """The reliability of the view probabilities of one part."""

    part: str
    bins: tuple[Reliability, ...]
    error: Score


class Agreement(Config):
    """True and measured values of a quantity, one pair per study, with Bland-Altman limits of agreement."""

    part: str
    quantity: Quantity
    unit: str
    bias: float
    lower: float
    upper: float
    pairs: tuple[Point, ...] = Field(description="true, measured")


class PartClicks(Config):
    """Interactive segmentation of one part."""

    part: str
    scores: ClicksFile
    goals: dict[str, Goal] = Field(default_factory=dict, description="by structure/box and structure/clicks")


class SeedMean(Config):
    """The mean of a score over repeated runs, or the score of a probe."""

    mean: float
    half_width: float | None = Field(
        default=None, description="half the width of the 95 % interval over seeds; None for one run"
    )
    interval: tuple[float, float] | None = Field(
        default=None, description="95 % interval of a probe, over draws of labelled and of scored patients"
    )

    @property
    def ends(self) -> tuple[float, float] | None:
        """Both ends of the interval that is known, or None."""
        if self.half_width is not None:
            return self.mean - self.half_width, self.mean + self.half_width
        return self.interval


class LabelPoint(Config):
    """Runs with the same number of labels."""

    amount: float | None = Field(description="number of labels; None for all")
    unit: Literal["clips", "patients", "percent", "all"]
    runs: int
    scores: dict[str, SeedMean]


class LabelCurve(Config):
    """Scores by the number of labels: validation of training runs, or probes of a frozen encoder."""

    name: str
    kind: Literal["finetune", "probe"] = "finetune"
    points: tuple[LabelPoint, ...]


class Example(Config):
    """One outlined frame of a part: the picture, with true and written outlines in pixels of the picture."""

    part: str
    structure: Structure
    rank: Literal["best", "median", "worst"]
    dice: float
    patient: str
    clip: str
    view: View | None = Field(description="null if the data set does not give it")
    frame: int
    picture: str = Field(description="file name, relative to the card")
    size: int = Field(description="side of the square picture in pixels")
    true_outlines: tuple[tuple[Point, ...], ...]
    written_outlines: tuple[tuple[Point, ...], ...]


class PartSubgroups(Config):
    """Scores of patients who share a trait."""

    part: str
    traits: dict[str, dict[str, SubgroupScores]]


class Absent(Config):
    """A section of the card that has no content, with the reason."""

    what: Literal["confusion", "agreement", "reliability", "clicks", "label efficiency", "examples", "subgroups"]
    part: str = ""
    reason: str


class BenchmarkCard(Config):
    """The whole of ``card.json``."""

    card_version: Literal["1.0"] = CARD_VERSION
    suite: Literal["echoapex28"] = SUITE
    notice: str = DISCLAIMER
    echoapex_version: str
    title: str
    parts: tuple[Part, ...] = Field(min_length=1)
    subtasks: tuple[SubTaskRow, ...] = Field(min_length=28, max_length=28)
    overall: dict[Application, tuple[Measured, ...]] = Field(
        description="scores of a whole application, which are not among the 28 sub-tasks"
    )
    confusions: tuple[PartConfusion, ...] = ()
    reliabilities: tuple[PartReliability, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    clicks: tuple[PartClicks, ...] = ()
    label_curves: tuple[LabelCurve, ...] = ()
    examples: tuple[Example, ...] = ()
    subgroups: tuple[PartSubgroups, ...] = ()
    absent: tuple[Absent, ...] = ()

    def shown_name(self, part: str) -> str:
        """The name of a part on the page; simulated patients are always marked as simulated."""
        is_simulated = any(each.simulated for each in self.parts if each.name == part)
        return f"{part} (simulated)" if is_simulated else part

    @property
    def goals(self) -> list[Goal]:
        """The goals of everything that was measured."""
        return [goal for part in self.parts for goal in self.goals_of(part.name)]

    def goals_of(self, part: str) -> list[Goal]:
        """The goals of everything that was measured on one part."""
        every = [each for row in self.subtasks for each in row.measured]
        every += [each for found in self.overall.values() for each in found]
        every = [each for each in every if each.part == part]
        asked = [each.goal for each in every] + [detail.goal for each in every for detail in each.details]
        clicked = [goal for each in self.clicks if each.part == part for goal in each.goals.values()]
        return [goal for goal in asked if goal is not None] + clicked


def card_text(card: BenchmarkCard) -> str:
    """The text of ``card.json``."""
    return card.model_dump_json(indent=1) + "\n"


def card_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of ``card.json``."""
    schema = BenchmarkCard.model_json_schema(mode="serialization")
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:echoapex:card:{CARD_VERSION}",
        "title": f"EchoApex benchmark card, version {CARD_VERSION}",
    }
    return head | {key: value for key, value in schema.items() if key != "title"}


def write_schema(path: Path) -> Path:
    """Write the schema."""
    return write_bytes_atomically(path, (json.dumps(card_schema(), indent=1) + "\n").encode())


if __name__ == "__main__":
    write_schema(Path(sys.argv[1]))
