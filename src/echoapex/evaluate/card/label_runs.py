"""How a figure grows with the labels that were learned from: runs of ``echoapex finetune`` read back.

A folder may hold many runs: each is recognised by its ``recipe.json``, which says from how many clips, percent or
patients it learned; runs that differ in nothing but the seed (``--seeds``) are taken together. The figures are those of
the run's own validation.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import stats

from echoapex.evaluate.card.card_file import LabelCurve, LabelPoint, SeedMean
from echoapex.evaluate.card.errors import CardError

RECIPE_FILE, JOURNAL_FILE = "recipe.json", "journal.jsonl"
LabelUnit = Literal["clips", "patients", "percent", "all"]


class LabelAmount(NamedTuple):
    """How many labels a run learned from; ``amount`` is None for all there were."""

    unit: LabelUnit
    amount: float | None


def read_label_curve(name: str, folder: Path) -> LabelCurve:
    """All finished runs in and below a folder as one curve, fewest labels first, all labels last.

    Raises:
        CardError: there is none, a file is damaged, or the amounts are counted in several units.
    """
    found: dict[LabelAmount, list[dict[str, float]]] = defaultdict(list)
    for recipe in sorted(folder.rglob(RECIPE_FILE)):
        scores = _last_scores(recipe.with_name(JOURNAL_FILE))
        if scores:
            found[_amount_of(recipe)].append(scores)
    if not found:
        raise CardError(
            f"{folder}: holds no finished run of echoapex finetune ({RECIPE_FILE} and {JOURNAL_FILE} with scores)"
        )
    units = sorted({amount.unit for amount in found} - {"all"})
    if len(units) > 1:
        raise CardError(f"{folder}: counts labels in {' and in '.join(units)}; give one folder for each")
    ordered = sorted(found, key=lambda each: np.inf if each.amount is None else each.amount)
    return LabelCurve(name=name, points=tuple(_point(amount, found[amount]) for amount in ordered))


def _amount_of(path: Path) -> LabelAmount:
    task = _read(path).get("task", {})
    few = task.get("few_shot") or {}
    units: tuple[LabelUnit, ...] = ("clips", "percent")
    for unit in units:
        if few.get(unit) is not None:
            return LabelAmount(unit, float(few[unit]))
    if task.get("patients") is not None:
        return LabelAmount("patients", float(task["patients"]))
    return LabelAmount("all", None)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CardError(f"{path}: is no recipe of a run ({error}); take the run out, or run it again") from error
    if not isinstance(content, dict):
        raise CardError(f"{path}: is no recipe of a run; take the run out, or run it again")
    return content


def _last_scores(path: Path) -> dict[str, float]:
    """The figures of the last validation; empty for a run that has not come to one."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:  # an interrupted run may leave half a line
            continue
        if isinstance(entry, dict) and "scores" in entry:
            return {str(name): float(value) for name, value in entry["scores"].items()}
    return {}


def _point(amount: LabelAmount, runs: list[dict[str, float]]) -> LabelPoint:
    names = [name for name in runs[0] if all(name in run for run in runs)]
    return LabelPoint(
        amount=amount.amount,
        unit=amount.unit,
        runs=len(runs),
        scores={name: _over_seeds([run[name] for run in runs]) for name in names},
    )


def _over_seeds(values: list[float]) -> SeedMean:
    """Mean, and half the width of its 95 % interval by Student's t."""
    if len(values) < 2:
        return SeedMean(mean=values[0])
    spread = float(stats.t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return SeedMean(mean=round(float(np.mean(values)), 6), half_width=round(spread, 6))
