"""Content of ``clicks.json``: what clicks, boxes and names gave, each number with its count and its interval."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from echoapex.config import Config
from echoapex.evaluate.clicks import ClickProtocol
from echoapex.evaluate.metrics_file import Score
from echoapex.vocabulary import Structure

CLICKS_VERSION: Literal["1.0"] = "1.0"
REPORTED_CLICKS = (1, 2, 3, 5, 10)


class ClickCurve(Config):
    """Dice by the number of clicks, and how many clicks the target takes."""

    curve: tuple[float, ...] = Field(default=(), description="mean Dice after 0, 1, 2, ... clicks")
    dice: dict[int, Score] = Field(
        default_factory=dict, description="Dice after 1, 2, 3, 5 and 10 clicks, up to the cap"
    )
    noc: Score = Field(
        default=Score(), description="clicks to the target Dice; a case that never gets there counts the cap"
    )
    never: Score = Field(default=Score(), description="share of the cases that never reach the target within the cap")
    worsened: Score = Field(default=Score(), description="share of the clicks that lowered Dice by more than 0.001")
    obeyed: Score = Field(
        default=Score(), description="share of the clicks that the answer agrees with, at their place"
    )
    negative: Score = Field(default=Score(), description="share of the clicks that were negative")


class PromptScores(Config):
    """What each kind of prompt gave; a model without names leaves three of them empty (n = 0)."""

    name: Score = Score()
    box: Score = Score()
    box_and_name: Score = Score()
    from_nothing: ClickCurve = ClickCurve()
    without_mask: ClickCurve = Field(default=ClickCurve(), description="the earlier mask withheld from the model")
    from_name: ClickCurve = ClickCurve()


class FollowingScores(Config):
    """Clips followed from one corrected frame; all values are means over structures of clips."""

    clicks: int = Field(description="clicks on the corrected frame, at most")
    corrected_dice: Score = Field(default=Score(), description="on the corrected frame")
    dice: Score = Field(default=Score(), description="on all other labelled frames")
    automatic_dice: Score = Field(default=Score(), description="on the same frames without any click")
    jitter: Score = Field(default=Score(), description="RMS second difference of the area curve over its mean")
    automatic_jitter: Score = Field(default=Score(), description="of the automatic pass")
    true_jitter: Score = Field(default=Score(), description="of the truth: what is motion")


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
    structures: dict[str, PromptScores] = Field(description="by structure key, those that occur")
    following: FollowingScores | None = Field(default=None, description="None where no clip has enough labelled frames")

    def of(self, structure: Structure) -> PromptScores:
        """Scores of one structure; empty where it did not occur."""
        return self.structures.get(structure.key, PromptScores())
