"""How far few labels carry an encoder that is never changed: ``label_efficiency.json`` read back.

``benchmarks/label_efficiency.py`` writes it: for each encoder and each task, at growing shares of the labelled
patients, the score of a linear probe with its 95 % interval.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, RootModel

from echoapex.config import Config
from echoapex.evaluate.card.card_file import LabelCurve, LabelPoint, SeedMean
from echoapex.evaluate.card.errors import CardError
from echoapex.evaluate.card.scored_part import read_json_file

PROBE_PREFIX = "probe/"


class ProbeRow(Config):
    """The probe of one task at one share of the labels."""

    share: float
    patients: int
    score: float
    low: float
    high: float


Rows = Annotated[tuple[ProbeRow, ...], Field(min_length=1)]


class ProbeFile(RootModel[dict[str, dict[str, Rows]]]):
    """Encoder: task: rows."""


def read_probe_curves(path: Path) -> list[LabelCurve]:
    """A curve for each encoder and task, encoders in the order of the file: the first is what others are held against.

    Raises:
        CardError: the file cannot be read, or holds nothing.
    """
    found = read_json_file(path, ProbeFile, "benchmarks/label_efficiency.py").root
    curves = [_curve(encoder, task, rows) for encoder, tasks in found.items() for task, rows in tasks.items()]
    if not curves:
        raise CardError(f"{path}: holds no encoder; run benchmarks/label_efficiency.py again")
    return curves


def _curve(encoder: str, task: str, rows: tuple[ProbeRow, ...]) -> LabelCurve:
    points = (
        LabelPoint(
            amount=row.patients,
            unit="patients",
            runs=1,
            scores={f"{PROBE_PREFIX}{task}": SeedMean(mean=row.score, interval=(row.low, row.high))},
        )
        for row in sorted(rows, key=lambda row: row.patients)
    )
    return LabelCurve(name=encoder, kind="probe", points=tuple(points))
