"""What a recipe of a task promises: to build its work, and to hand over bundles when it is trained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from echoapex.config import Config
from echoapex.data.phantom_store import PhantomStoreConfig
from echoapex.models.bundle import Card, Origin, Preprocessing, compute_sha256, read_card
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

    starting_weights: Origin | None = None
    """Of a weights file without a card that the run starts from. Where it is not stated, the card says that the licence
    is not known, and that the weights are not for commercial use."""

    @property
    def origin(self) -> Origin:
        """What the run itself learns from, and what that binds it to."""
        return Origin(training_data=self.training_data, licence=self.licence, non_commercial=self.non_commercial)


class Lineage:
    """The provenance of a run after that of all weights it went on from: the one place that makes cards of a run.

    Args:
        provenance: of the run.
        starts: bundles, or weights files without a card, that the run went on from.

    Raises:
        BundleError: a bundle has no card, or it is damaged.
    """

    def __init__(self, provenance: Provenance, starts: Sequence[Path]) -> None:
        self.provenance = provenance
        cards = [read_card(place) for place in starts if place.is_dir()]
        files = [_file_origin(place, provenance.starting_weights) for place in starts if not place.is_dir()]
        self.origin = provenance.origin.after([*(card.origin for card in cards), *files])
        went_on = [f"went on from {card.name} {card.version}" for card in cards]
        went_on += [f"went on from the file {place.name}" for place in starts if not place.is_dir()]
        self._notes = tuple(dict.fromkeys((*provenance.notes, *went_on)))

    @property
    def metrics(self) -> dict[str, float]:
        """The validation figures of the run."""
        return self.provenance.metrics

    def card(self, kind: str, size: int, **details: object) -> Card:
        """The card of one bundle of the run."""
        told = self.provenance
        return Card.model_validate(
            {
                "name": told.name,
                "version": told.version,
                "kind": kind,
                **dict(self.origin),
                "notes": self._notes,
                "seed": told.seed,
                "cost": told.cost,
                "metrics": told.metrics,
                "preprocessing": Preprocessing(size=(size, size)),
                **details,
            }
        )


def _file_origin(path: Path, stated: Origin | None) -> Origin:
    """What is known of weights without a card: what the recipe states, or that nothing is."""
    if stated is not None:
        return stated
    return Origin(
        training_data=(f"not stated: what taught the weights in {path.name} (sha256 {compute_sha256(path)[:12]})",),
        licence=f"not stated for the weights in {path.name}",
        non_commercial=True,
    )


class TaskRecipe(Config):
    """The ``task`` section of a recipe; each kind of task has its own.

    Whoever has ``stores`` to learn from and a ``validation`` store is refused where they share a simulated patient.
    """

    @model_validator(mode="after")
    def _nobody_both_teaches_and_judges(self) -> Self:
        judging = getattr(self, "validation", None)
        stores = getattr(self, "stores", {})
        if not isinstance(judging, PhantomStoreConfig):
            return self
        for name, taught in stores.items():
            both = set(judging.seeds) & set(taught.seeds)
            if both:
                raise ValueError(
                    f"{len(both)} patients of validation (seeds from {min(both)}) are also in stores.{name}; move "
                    "validation.first_seed beyond the training seeds"
                )
        return self

    def for_updates(self, count: int) -> Self:
        """The same for a run of ``count`` updates: schedules that are as long as the run learn its length here."""
        return self

    @abstractmethod
    def build(self, workspace: Workspace) -> Workload:
        """Prepare data and build the task with fresh (or given) weights."""

    @abstractmethod
    def starts(self) -> Sequence[Path]:
        """Bundles, or weights files without a card, that training goes on from; their origin follows into the cards."""

    def learned_from(self, provenance: Provenance) -> Provenance:
        """The provenance with what only the kind of task knows of its data; by default what the recipe says."""
        return provenance

    def export(self, task: Task, directory: Path, provenance: Provenance) -> None:
        """Write the trained weights as bundles below ``directory``, the layout of a set.

        Raises:
            BundleError: what training went on from has no card any more, or a weight cannot be stored.
        """
        self.write(task, directory, Lineage(self.learned_from(provenance), self.starts()))

    @abstractmethod
    def write(self, task: Task, directory: Path, lineage: Lineage) -> None:
        """The same, with the lineage by which every card is made."""
