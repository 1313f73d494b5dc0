"""Content of ``card.json``: everything that the page of the card shows, and the JSON Schema that it keeps to.

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
    """What this project set out to reach on a data set, and whether it did."""

    value: float
    met: bool


class Published(Config):
    """A published figure on the same data set; its split and protocol may be others."""

    value: float
    source: str
    of: str = Field(default="", description="what part of the data it speaks of, where not of all")


class Detail(Config):
    """A further score beside a metric."""

    name: str
    unit: str = ""
    score: Score
    goal: Goal | None = None
    published: tuple[Published, ...] = ()


class Measured(Config):
    """One metric of one part."""

    part: str
    subject: str = Field(default="", description="what was scored, where it is none of the 28")
    metric: str
    route: str = Field(default="", description="how it was found, where there is more than one way")
    unit: str = Field(default="", description="mm or points; empty for shares")
    higher_is_better: bool
    score: Score
    exact_interval: tuple[float, float] | None = Field(
        default=None,
        description="95 % interval of Clopper and Pearson, a patient counting once, where no patient differs from "
        "another and the bootstrap interval has no width",
    )
    details: tuple[Detail, ...] = ()
    notes: tuple[str, ...] = Field(default=(), description="what could not be measured beside it, and why")
    goal: Goal | None = None
    published: tuple[Published, ...] = ()

    @property
    def shown_interval(self) -> tuple[float, float] | None:
        """The exact interval where the other has no width."""
        return self.exact_interval or self.score.interval


class NotMeasured(Config):
    """Why a part says nothing of a sub-task."""

    part: str
    reason: str


class SubTaskRow(Config):
    """One of the 28 sub-tasks: what each part measured of it, and why others did not."""

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
    simulated: bool = Field(
        default=False, description="the patients are simulated, so that nothing here is of a person"
    )
    views_given: bool = Field(description="the analysis was told the true views")
    ejection_fraction_method: Quantity
    ejection_fraction_reference: str
    echoapex_version: str = Field(description="that scored it")
    bundles: dict[str, str] = Field(default_factory=dict, description="bundle: sha256 of its weights")
    licence: str = Field(default="", description="of the data, in words; empty for simulated patients and one's own")
    citation: str = Field(default="", description="what to cite for the data")
    notes: tuple[str, ...] = Field(default=(), description="what of the data was not scored, and why")


class PartConfusion(Config):
    """The views of one part, true against called."""

    part: str
    confusion: Confusion


class PartReliability(Config):
    """How sure the calls of a part's views were, and how often right."""

    part: str
    bins: tuple[Reliability, ...]
    error: Score


class Agreement(Config):
    """A quantity as measured and as true, one pair per study, with Bland and Altman's limits."""

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
    """A figure over repeated runs, or of a probe."""

    mean: float
    half_width: float | None = Field(default=None, description="of the 95 % interval over seeds; None for one run")
    interval: tuple[float, float] | None = Field(
        default=None, description="95 % interval of a probe, over draws of labelled and of judged patients"
    )

    @property
    def ends(self) -> tuple[float, float] | None:
        """Both ends of whatever interval is known."""
        if self.half_width is not None:
            return self.mean - self.half_width, self.mean + self.half_width
        return self.interval


class LabelPoint(Config):
    """Runs that learned from the same amount of labels."""

    amount: float | None = Field(description="None: all there were")
    unit: Literal["clips", "patients", "percent", "all"]
    runs: int
    scores: dict[str, SeedMean]


class LabelCurve(Config):
    """Figures by the amount of labels: the validation of training runs, or probes of an encoder that stays as it is."""

    name: str
    kind: Literal["finetune", "probe"] = "finetune"
    points: tuple[LabelPoint, ...]


class Example(Config):
    """One outlined frame of a part: the picture, and both outlines in pixels of the picture."""

    part: str
    structure: Structure
    rank: Literal["best", "median", "worst"]
    dice: float
    patient: str
    clip: str
    view: View | None = Field(description="null where the data set does not tell it")
    frame: int
    picture: str = Field(description="file beside the card")
    size: int = Field(description="side of the square picture in pixels")
    true_outlines: tuple[tuple[Point, ...], ...]
    written_outlines: tuple[tuple[Point, ...], ...]


class PartSubgroups(Config):
    """Scores of those who share a trait."""

    part: str
    traits: dict[str, dict[str, SubgroupScores]]


class Absent(Config):
    """Something of the card that there is nothing to show of."""

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
        description="scores of an application as a whole, which are none of the 28"
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
        """The name of a part as the page writes it: simulated patients are always called so."""
        is_simulated = any(each.simulated for each in self.parts if each.name == part)
        return f"{part} (simulated)" if is_simulated else part

    @property
    def goals(self) -> list[Goal]:
        """The goals of all that was measured."""
        return [goal for part in self.parts for goal in self.goals_of(part.name)]

    def goals_of(self, part: str) -> list[Goal]:
        """The goals of what was measured on one part."""
        every = [each for row in self.subtasks for each in row.measured]
        every += [each for found in self.overall.values() for each in found]
        every = [each for each in every if each.part == part]
        asked = [each.goal for each in every] + [detail.goal for each in every for detail in each.details]
        clicked = [goal for each in self.clicks if each.part == part for goal in each.goals.values()]
        return [goal for goal in asked if goal is not None] + clicked


def card_text(card: BenchmarkCard) -> str:
    """The card as it is written to ``card.json``."""
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
