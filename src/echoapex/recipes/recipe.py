"""The contract of a recipe: build the work of a task, and write its bundles after training.

The learning settings that recipes share are here too: which part of the encoder learns with a task.
"""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from torch import nn

from echoapex.config import Config, ConfigError
from echoapex.data.batch import BatchSource
from echoapex.data.stores.phantom_store import PhantomStoreConfig
from echoapex.models.adapters import Adapter, AdapterConfig, AdapterKind, adapt, adapt_further, freeze
from echoapex.models.bundle import (
    WEIGHTS_FILE,
    Bundle,
    BundleError,
    Card,
    Origin,
    Preprocessing,
    compute_sha256,
    load_bundle,
    read_card,
    save_bundle,
)
from echoapex.models.encoder import VisionTransformer
from echoapex.models.registry import ADAPTER, ENCODER
from echoapex.tasks.task import Task

Progress = Callable[[str, int, int], None]
"""Called with a description of the work, the number of finished items, and their total."""
SettingName = Literal["full", "frozen", "adapter", "lora", "bitfit"]
_ADAPTERS: dict[SettingName, AdapterKind] = {"adapter": "bottleneck", "lora": "lora", "bitfit": "bitfit"}


@dataclass(frozen=True, eq=False)
class Workload:
    """Everything that a run needs from a task; validation batches are numbered from 0."""

    task: Task
    batches: BatchSource
    validation: BatchSource
    validation_batches: int


@dataclass(frozen=True)
class Workspace:
    """Directory for prepared data, number of processes, and receiver of progress."""

    directory: Path
    workers: int
    progress: Progress


class Provenance(Config):
    """The origin of weights for the card; written in the recipe, completed by the run."""

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
    """Origin of a starting weights file without a card. If it is not stated, the card says that the licence is unknown
    and that the weights are not for commercial use."""

    @property
    def origin(self) -> Origin:
        """Training data of the run itself, and their conditions of use."""
        return Origin(training_data=self.training_data, licence=self.licence, non_commercial=self.non_commercial)


class Lineage:
    """The provenance of a run together with that of its starting weights; makes all cards of the run.

    Args:
        provenance: of the run.
        starts: starting bundles, or weights files without a card.

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
        """The validation scores of the run."""
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
    """The origin of weights without a card: what the recipe states, otherwise unknown."""
    if stated is not None:
        return stated
    return Origin(
        training_data=(f"not stated: what taught the weights in {path.name} (sha256 {compute_sha256(path)[:12]})",),
        licence=f"not stated for the weights in {path.name}",
        non_commercial=True,
    )


class TaskRecipe(Config):
    """The ``task`` section of a recipe; each kind of task has its own.

    A recipe is refused if its ``stores`` and its ``validation`` store share a simulated patient.
    """

    kind: str
    """Which kind of task this is; it decides which other keys the section has."""

    @model_validator(mode="after")
    def _nobody_both_teaches_and_judges(self) -> Self:
        stores, judging = self.simulated_patients()
        if judging is None:
            return self
        for name, taught in stores.items():
            both = set(judging.seeds) & set(taught.seeds)
            if both:
                raise ValueError(
                    f"{len(both)} patients of validation (seeds from {min(both)}) are also in stores.{name}; move "
                    "validation.first_seed beyond the training seeds"
                )
        return self

    def simulated_patients(self) -> tuple[Mapping[str, PhantomStoreConfig], PhantomStoreConfig | None]:
        """The phantom stores to learn from, by name, and the one to validate on; by default there are none."""
        return {}, None

    def for_updates(self, count: int) -> Self:
        """The same recipe for a run of ``count`` updates: schedules without a length get this one."""
        return self

    @abstractmethod
    def build(self, workspace: Workspace) -> Workload:
        """Prepare data and build the task with fresh (or given) weights."""

    @abstractmethod
    def starts(self) -> Sequence[Path]:
        """Starting bundles, or weights files without a card; their origin is passed on to the cards."""

    def learned_from(self, provenance: Provenance) -> Provenance:
        """The provenance, completed by what only this kind of task knows about its data; by default unchanged."""
        return provenance

    def export(self, task: Task, directory: Path, provenance: Provenance) -> None:
        """Write the trained weights as bundles below ``directory``, the layout of a set.

        Raises:
            BundleError: starting weights have lost their card, or a weight cannot be stored.
        """
        self.write(task, directory, Lineage(self.learned_from(provenance), self.starts()))

    @abstractmethod
    def write(self, task: Task, directory: Path, lineage: Lineage) -> None:
        """Write the bundles; ``lineage`` makes their cards."""


class LearningSetting(Config):
    """Which part of the encoder learns: all (``full``), none (``frozen``) or an adapter (its kind)."""

    name: SettingName = "full"
    adapter: AdapterConfig = AdapterConfig()
    """Sizes of the adapter; its kind follows the setting."""
    start: Path | None = None
    """A starting adapter bundle of the same encoder and of the setting's kind; it keeps its sizes."""

    @model_validator(mode="after")
    def _starts_from_its_kind(self) -> LearningSetting:
        if self.start is not None and self.name not in _ADAPTERS:
            raise ValueError(
                f"start names an adapter, and the setting {self.name} has none; give lora, adapter or bitfit"
            )
        return self

    @property
    def starts(self) -> list[Path]:
        """The starting adapter bundle, if there is one."""
        return [] if self.start is None else [self.start]

    def apply(self, encoder: VisionTransformer, base: Bundle | None) -> Adapter | None:
        """Prepare an encoder for training; returns the adapter that is trained instead, or None.

        Args:
            encoder: to be set up.
            base: bundle of its weights, to which a starting adapter must belong; None for fresh weights.

        Raises:
            BundleError: the starting adapter is damaged, of another kind or of another encoder.
        """
        if self.name == "full":
            return None
        if self.name == "frozen":
            freeze(encoder)
            return None
        if self.start is not None:
            return self._go_on(encoder, base, self.start)
        return adapt(encoder, self.adapter.model_copy(update={"kind": _ADAPTERS[self.name]}))

    def _go_on(self, encoder: VisionTransformer, base: Bundle | None, start: Path) -> Adapter:
        found = load_bundle(start)
        if base is None:
            raise BundleError(f"{start}: belongs to an encoder with weights, and this one is fresh; name that encoder")
        found.require_encoder(base)
        adapter = adapt_further(encoder, found)
        if adapter.config.kind != _ADAPTERS[self.name]:
            raise BundleError(f"{start}: is of the kind {adapter.config.kind}; give its setting")
        return adapter


def parse_setting(text: str) -> dict[str, object]:
    """Overrides of a recipe's task section for a setting from the command line.

    >>> parse_setting("lora,few-shot:10%")
    {'setting': {'name': 'lora'}, 'few_shot': {'percent': 10.0}}

    Raises:
        ConfigError: the text is not a setting.
    """
    found: dict[str, object] = {}
    for word in text.split(","):
        name, _, amount = word.strip().partition(":")
        if name == "few-shot":
            found["few_shot"] = _amount(word, amount)
        elif name in ("full", "frozen", *_ADAPTERS) and not amount:
            found["setting"] = {"name": name}
        else:
            raise ConfigError(
                f"--setting {text}: {word!r} is no setting; give full, frozen, adapter, lora, bitfit, few-shot:20 "
                "(clips) or few-shot:5%, or one of the first with few-shot, as in lora,few-shot:20"
            )
    return found


def _amount(word: str, amount: str) -> dict[str, object]:
    try:
        return {"percent": float(amount[:-1])} if amount.endswith("%") else {"clips": int(amount)}
    except ValueError as error:
        raise ConfigError(f"--setting {word}: give a number of clips (few-shot:20) or a share (few-shot:5%)") from error


class EncoderExport:
    """Writes the encoder of a trained set and then its decoders; an unchanged encoder is copied.

    Args:
        directory: the set.
        lineage: of the run.
        size: side of the input in pixels.
    """

    def __init__(self, directory: Path, lineage: Lineage, size: int) -> None:
        self._directory = directory
        self._lineage = lineage
        self._size = size
        self._adapter: Path | None = None
        self._digests: dict[str, str] = {}

    def write(self, encoder: VisionTransformer, adapter: Adapter | None, base: Path | None) -> None:
        """Write the encoder in half precision, and keep the adapter for the decoders.

        Args:
            encoder: as trained.
            adapter: that learned in its place.
            base: bundle of the encoder when it did not change; then the bundle is copied, with its digest.
        """
        place = self._directory / ENCODER
        if base is None:
            card = self._lineage.card("encoder", self._size, architecture=encoder.config.model_dump(mode="json"))
            save_bundle(place, encoder, card, half=True)
        elif base.resolve() != place.resolve():
            shutil.copytree(base, place, dirs_exist_ok=True)
        self._digests = {"base_encoder_sha256": read_card(place).files[WEIGHTS_FILE]}
        if adapter is None:
            return
        card = self._lineage.card(
            "adapter", self._size, architecture=adapter.config.model_dump(mode="json"), **self._digests
        )
        self._adapter = self._directory / f".{ADAPTER}"
        self._digests["adapter_sha256"] = save_bundle(self._adapter, adapter, card).files[WEIGHTS_FILE]

    def write_decoder(self, name: str, decoder: nn.Module, **details: object) -> None:
        """Write a decoder in half precision, with its adapter in its folder."""
        card = self._lineage.card("task", self._size, task=name, **details, **self._digests)
        save_bundle(self._directory / name, decoder, card, half=True)
        if self._adapter is not None:
            shutil.copytree(self._adapter, self._directory / name / ADAPTER)

    def finish(self) -> None:
        """Delete temporary files."""
        if self._adapter is not None:
            shutil.rmtree(self._adapter)


def count_trainable(task: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in task.parameters() if parameter.requires_grad)
