"""What was corrected, runs of learning, and which of the site's sets is used."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from echoapex.curation.next_study import rank_next
from echoapex.data.datasets.records import DatasetError
from echoapex.serve.page.learning import LearningRun, LearningTask
from echoapex.serve.page.page_parts import Admin, PageParts, Parts, User
from echoapex.serve.page.schemas import StudyKey, Wire
from echoapex.serve.page.security import PageError
from echoapex.vocabulary import Application

router = APIRouter(tags=["learning"])
RunName = Annotated[str, Path(pattern="^r[0-9]{1,9}$", description="name of the run")]


class WeightsInUse(Wire):
    """The set of weights that analyses new studies."""

    name: str
    version: int | None = Field(default=None, description="the site's own version; null for the set that was given")


class StudyToCorrect(Wire):
    """A study that is worth correcting, and why."""

    study: StudyKey
    label: str
    score: float
    reason: str


class LearningState(Wire):
    """Everything about learning."""

    tasks: list[LearningTask]
    runs: list[LearningRun]
    current: WeightsInUse
    next_best: list[StudyToCorrect]


class RunRequest(Wire):
    """What is to be learned."""

    task: Application


class SwitchRequest(Wire):
    """Which run's weights are used; null for the set that was given."""

    run: Annotated[str, Field(pattern="^r[0-9]{1,9}$")] | None = None


@router.get("/learning")
def show_learning(parts: Parts) -> LearningState:
    """What was corrected, what was learned from it, and what to correct next."""
    try:
        tasks = parts.learning.tasks()
    except DatasetError:
        raise PageError(
            "the index of corrections is damaged; restore corrections/index.json from a backup", 409
        ) from None
    return LearningState(
        tasks=tasks, runs=parts.learning.runs(), current=_in_use(parts), next_best=_next_studies(parts)
    )


@router.post("/learning/runs", status_code=202)
def start_learning(wanted: RunRequest, parts: Parts, _: User) -> LearningRun:
    """Learn from the corrections; the set that comes of it is used when it is better on patients held back."""
    return parts.learning.queue(wanted.task)


@router.delete("/learning/runs/{run}")
def stop_learning(run: RunName, parts: Parts, _: User) -> LearningRun:
    """Stop a run; it changes nothing any more."""
    return parts.learning.stop(run)


@router.post("/learning/switch")
async def switch_weights(wanted: SwitchRequest, parts: Parts, _: Admin) -> WeightsInUse:
    """Use what a run has learned, or the set that was given."""
    await run_in_threadpool(parts.learning.switch, wanted.run)
    return await run_in_threadpool(_in_use, parts)


def _in_use(parts: PageParts) -> WeightsInUse:
    known = parts.models.describe()
    return WeightsInUse(name=known.name, version=known.site_version)


def _next_studies(parts: PageParts) -> list[StudyToCorrect]:
    doubts, corrected = parts.archive.doubts()
    found = []
    for one in rank_next(doubts, corrected):
        try:
            label = parts.studies.row(one.study).label
        except PageError:  # deleted meanwhile
            continue
        found.append(StudyToCorrect(study=one.study, label=label, score=one.score, reason=one.reason))
    return found
