"""One part of a card: an output folder of ``echoapex evaluate``, read back."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from echoapex.data.datasets import DATASETS
from echoapex.evaluate.card.card_file import Part
from echoapex.evaluate.card.errors import CardError
from echoapex.evaluate.metrics_file import MetricsFile
from echoapex.phantom.truth import is_held_out
from echoapex.vocabulary import Quantity, Structure, View

METRICS_FILE, CASES_FILE = "metrics.json", "cases.csv"
OWN_CLIPS = "folder"
SIMULATED = "phantom"
"""The data set whose patients are simulated."""
Content = TypeVar("Content", bound=BaseModel)


class MaskRow(NamedTuple):
    """One outlined structure on one frame; ``dice`` is 0 where no mask was written."""

    patient: str
    clip: str
    frame: int
    structure: Structure
    dice: float
    written: bool


class ValuePair(NamedTuple):
    """One quantity of one study, true and measured."""

    patient: str
    quantity: Quantity
    truth: float
    measured: float


@dataclass(frozen=True)
class ScoredPart:
    """What was scored on one data set with one set of weights.

    Attributes:
        name: how the card calls it.
        folder: the output folder of ``echoapex evaluate``.
        metrics: content of ``metrics.json``.
        masks: the outlined structures of ``cases.csv``.
        values: the values of ``cases.csv`` that were written.
        viewed: the true views of ``cases.csv``, each with its patients.
    """

    name: str
    folder: Path
    metrics: MetricsFile
    masks: tuple[MaskRow, ...]
    values: tuple[ValuePair, ...]
    viewed: Mapping[View, frozenset[str]] = field(default_factory=dict)

    def patients_of(self, view: View) -> int:
        """How many patients have clips of a view."""
        return len(self.viewed.get(view, ()))

    @property
    def described(self) -> Part:
        """The part as the card lists it."""
        metrics = self.metrics
        public = DATASETS.get(metrics.dataset) if metrics.dataset != OWN_CLIPS else None
        return Part(
            name=self.name,
            dataset=metrics.dataset,
            split=metrics.split,
            studies=metrics.studies,
            studies_without_results=metrics.studies_without_results,
            clips=metrics.clips,
            simulated=metrics.dataset == SIMULATED,
            views_given=metrics.views.given,
            ejection_fraction_method=metrics.ejection_fraction.method,
            ejection_fraction_reference=metrics.ejection_fraction.reference,
            echoapex_version=metrics.echoapex_version,
            bundles=metrics.bundles,
            licence=public.licence if public else "",
            citation=public.citation if public else "",
            notes=metrics.notes,
        )


def read_scored_part(name: str, folder: Path) -> ScoredPart:
    """Read ``metrics.json`` and ``cases.csv``.

    Raises:
        CardError: a file is missing or damaged, or phantom patients were scored that weights may have been trained on.
    """
    metrics = read_json_file(folder / METRICS_FILE, MetricsFile, "echoapex evaluate")
    path = folder / CASES_FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise CardError(f"{path}: cannot be read ({error.strerror}); run echoapex evaluate again") from error
    try:
        masks = tuple(_mask_row(row) for row in rows if row["truth"] == "mask")
        values = tuple(_value_pair(row) for row in rows if row["subject"] in list(Quantity) and _is_written(row))
        viewed = _patients_by_view(row for row in rows if row["subject"] == "view")
        patients = {row["patient"] for row in rows}
        _require_held_out(path, metrics.dataset, patients)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, CardError):
            raise
        raise CardError(f"{path}: is not a table of cases ({error}); run echoapex evaluate again") from error
    return ScoredPart(name, folder, metrics, masks, values, viewed)


def read_json_file(path: Path, kind: type[Content], written_by: str) -> Content:
    """Read a JSON file that a verb wrote.

    Raises:
        CardError: it is missing or does not hold what it should.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CardError(f"{path}: cannot be read ({error.strerror}); give an output folder of {written_by}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise CardError(f"{path}: {place} is not valid ({first['msg']}); run {written_by} again") from error


def _mask_row(row: dict[str, str]) -> MaskRow:
    return MaskRow(
        row["patient"],
        row["clip"],
        int(row["frame"]),
        Structure.from_key(row["subject"]),
        float(row["dice"]),
        row["predicted"] == "mask",
    )


def _value_pair(row: dict[str, str]) -> ValuePair:
    return ValuePair(row["patient"], Quantity(row["subject"]), float(row["truth"]), float(row["predicted"]))


def _patients_by_view(rows: Iterable[dict[str, str]]) -> dict[View, frozenset[str]]:
    found: dict[View, set[str]] = {}
    for row in rows:
        found.setdefault(View(row["truth"]), set()).add(row["patient"])
    return {view: frozenset(patients) for view, patients in found.items()}


def _is_written(row: dict[str, str]) -> bool:
    return row["predicted"] != "missing"


def _require_held_out(path: Path, dataset: str, patients: set[str]) -> None:
    """Phantom patients are called after their seed; those for training must not be scored."""
    seeds = [int(patient.rpartition("-")[2]) for patient in patients] if dataset == SIMULATED else []
    seen = sorted(seed for seed in seeds if not is_held_out(seed))
    if seen:
        raise CardError(
            f"{path}: scores phantom patients for training (seed {seen[0]}); evaluate with --split held_out"
        )
