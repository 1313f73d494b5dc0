"""Scored parts to make cards of: the output of an evaluation, from results with a chosen error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from reference_studies import make_study
from written_results import write_results

from echoapex.evaluate.card.rows import CASES_FILE, METRICS_FILE, ScoredPart, read_scored_part
from echoapex.evaluate.cases import write_cases
from echoapex.evaluate.harness import score_predictions
from echoapex.evaluate.reference import LabelMaps, ReferenceSet, read_predictions
from echoapex.phantom.truth import FIRST_HELD_OUT_SEED
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
    shown: tuple[View, ...] = VIEWS,
    mass: Sequence[tuple[str, float]] = (),
    pixel_mm: float | None = 0.5,
    held_out: bool = True,
    views: Mapping[View, View | None] | None = None,
    values: Mapping[Quantity, float] | None = None,
    views_given: bool = False,
) -> Path:
    """What ``echoapex evaluate`` writes of results whose masks lie two pixels aside.

    ``mass`` gives each study a sex and a true LV mass index; patients of phantoms are held out, if asked for.
    """
    known = tuple(make_study(number, shown) for number in range(studies))
    if mass:
        known = tuple(
            replace(study, traits={"sex": sex}, values={**study.values, Quantity.LV_MASS_INDEX: g_per_m2})
            for study, (sex, g_per_m2) in zip(known, mass, strict=True)
        )
    if dataset == "phantom" and held_out:
        known = tuple(
            replace(study, patient=f"phantom-{FIRST_HELD_OUT_SEED + number}") for number, study in enumerate(known)
        )
    reference = ReferenceSet(dataset, split, known, "made up", "made up")
    for study in reference.studies:
        where = folder / "predictions" / study.patient
        write_results(where, study, views=views, change_labels=shift, values=values, pixel_mm=pixel_mm)
    written = read_predictions(folder / "predictions")
    metrics, cases = score_predictions(reference, written, views_given=views_given)
    (folder / METRICS_FILE).write_text(metrics.model_dump_json())
    write_cases(folder / CASES_FILE, cases)
    return folder


def make_part(folder: Path, name: str = "test", split: str = "", **how: object) -> ScoredPart:
    return read_scored_part(name, write_scores(folder, name, split, **how))  # type: ignore[arg-type]


__all__ = ["CAVITY_DICE", "SHIFT_PX", "VIEWS", "Structure", "make_part", "shift", "write_scores"]
