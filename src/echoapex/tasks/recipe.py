"""What a recipe of a task promises: to build its work, and to hand over bundles when it is trained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field

from echoapex.config import Config
from echoapex.models.bundle import Card, Preprocessing
from echoapex.tasks.task import BatchSource, Task

Progress = Callable[[str, int, int], None]
"""Called with what is being prepared, how much is done, and how much there is."""


@dataclass(frozen=True, eq=False)
class Workload:
    """Everything that a run needs of a task; validation batches are numbered from 0."""

    task: Task
    batches: BatchSource
    validation: BatchSource
    validation_batches: int


@dataclass(frozen=True)
class Workspace:
    """Where a recipe keeps prepared data, how many processes it may use, and whom it tells of its progress."""

    directory: Path
    workers: int
    progress: Progress


class Provenance(Config):
    """What a card says of where weights come from; written in the recipe, completed by the run."""

    name: str
    version: str = "0.1.0"
    licence: str = "Apache-2.0"
    non_commercial: bool = False
    training_data: tuple[str, ...]
    notes: tuple[str, ...] = ()
    seed: int = 0
    cost: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)

    def going_on_from(self, cards: Sequence[Card]) -> Provenance:
        """The same, after what had taught the weights that training went on from.

        Weights that are not for commercial use make none that are.
        """
        bound = [card.licence for card in cards if card.non_commercial]
        earlier = tuple(line for card in cards for line in card.training_data)
        return self.model_copy(
            update={
                "training_data": tuple(dict.fromkeys((*self.training_data, *earlier))),
                "licence": "; ".join(dict.fromkeys((self.licence, *bound))),
                "non_commercial": self.non_commercial or bool(bound),
            }
        )

    def card(self, kind: str, size: int, **details: object) -> Card:
        """The card of one bundle of the run."""
        return Card.model_validate(
            {
                "name": self.name,
                "version": self.version,
                "kind": kind,
                "licence": self.licence,
                "non_commercial": self.non_commercial,
                "training_data": self.training_data,
                "notes": self.notes,
                "seed": self.seed,
                "cost": self.cost,
                "metrics": self.metrics,
                "preprocessing": Preprocessing(size=(size, size)),
                **details,
            }
        )


class TaskRecipe(Config):
    """The ``task`` section of a recipe; each kind of task has its own."""

    def for_updates(self, count: int) -> Self:
        """The same for a run of ``count`` updates: schedules that are as long as the run learn its length here."""
        return self

    @abstractmethod
    def build(self, workspace: Workspace) -> Workload:
        """Prepare data and build the task with fresh (or given) weights."""

    @abstractmethod
    def export(self, task: Task, directory: Path, provenance: Provenance) -> None:
        """Write the trained weights as bundles below ``directory``, the layout of a set."""
