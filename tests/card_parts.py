"""Scored parts to make cards of: the output of an evaluation, from results with a chosen error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from reference_studies import make_study
from written_results import write_results

from echoapex.evaluate.card.scored_part import CASES_FILE, METRICS_FILE, ScoredPart, read_scored_part
from echoapex.evaluate.cases import write_cases
from echoapex.evaluate.harness import score_predictions
from echoapex.evaluate.predictions import read_predictions
from echoapex.evaluate.reference import LabelMaps, ReferenceSet
from echoapex.vocabulary import Quantity, Structure, View

VIEWS = (View.A4C, View.PLAX)
SHIFT_PX = 2
CAVITY_DICE = 18 / 20
"""Of a square of 20 pixels moved by two."""


def shift(labels: LabelMaps) -> LabelMaps:
    return {frame: np.roll(label, SHIFT_PX, axis=1) for frame, label in labels.items()}


def write_scores(
    folder: Path,
    dataset: str = "test",
    split: str = "",
    *,
    studies: int = 4,
    views: Mapping[View, View | None] | None = None,
    values: Mapping[Quantity, float] | None = None,
    views_given: bool = False,
) -> Path:
    """What ``echoapex evaluate`` writes of results whose masks lie two pixels aside."""
    known = tuple(make_study(number, VIEWS) for number in range(studies))
    reference = ReferenceSet(dataset, split, known, "made up", "made up")
    for study in reference.studies:
        write_results(folder / "predictions" / study.patient, study, views=views, change_labels=shift, values=values)
    written = read_predictions(folder / "predictions")
    metrics, cases = score_predictions(reference, written, views_given=views_given)
    (folder / METRICS_FILE).write_text(metrics.model_dump_json())
    write_cases(folder / CASES_FILE, cases)
    return folder


def make_part(folder: Path, name: str = "test", split: str = "", **how: object) -> ScoredPart:
    return read_scored_part(name, write_scores(folder, name, split, **how))  # type: ignore[arg-type]


__all__ = ["CAVITY_DICE", "SHIFT_PX", "VIEWS", "Structure", "make_part", "shift", "write_scores"]
