"""How a figure grows with the labels that were learned from: runs of ``echoapex finetune`` read back.

A folder may hold many runs: each is recognised by its ``recipe.json``, which says from how many clips, percent or
patients it learned; runs that differ in nothing but the seed (``--seeds``) are taken together, and runs of different
recipes are refused. Where only ``seeds.json`` of such runs was kept, it says the same. The figures are those of the
runs' own validation, after their last step.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, Field
from scipy import stats

from echoapex.evaluate.card.card_file import LabelCurve, LabelPoint, SeedMean
from echoapex.evaluate.card.errors import CardError
from echoapex.evaluate.card.scored_part import read_json_file

RECIPE_FILE, JOURNAL_FILE, SEEDS_FILE = "recipe.json", "journal.jsonl", "seeds.json"
_NOT_THE_METHOD = {"few_shot", "patients", "device", "parallel", "recompute", "compile"}
LabelUnit = Literal["clips", "patients", "percent", "all"]


class LabelAmount(NamedTuple):
    """How many labels a run learned from; ``amount`` is None for all there were."""

    unit: LabelUnit
    amount: float | None


class SeedsFile(BaseModel):
    """What the card reads of ``seeds.json``."""

    seeds: Annotated[list[dict[str, float]], Field(min_length=1)]
    labels: dict[str, Any] | None = None


def read_label_curve(name: str, place: Path) -> LabelCurve:
    """All finished runs below a folder, or those of a ``seeds.json``, as one curve: fewest labels first, all last.

    Raises:
        CardError: there is none, a file is damaged, the recipes differ in more than seed and amount, or the amounts are
            counted in several units.
    """
    found: dict[LabelAmount, list[dict[str, float]]] = defaultdict(list)
    single = place.is_file()
    runs = [] if single else sorted(place.rglob(RECIPE_FILE))
    first: tuple[Path, str] | None = None
    for recipe in runs:
        content = _read(recipe)
        scores = _final_scores(recipe.with_name(JOURNAL_FILE), content)
        if not scores:
            continue
        first = first or (recipe, _method(content))
        if _method(content) != first[1]:
            raise CardError(f"{recipe}: is of another recipe than {first[0]}; give one folder for each")
        found[_amount_of(content.get("task", {}))].append(scores)
    for path in [place] if single else sorted(place.rglob(SEEDS_FILE)):
        if not any(path.parent in run.parents for run in runs):  # else its runs were read one by one
            amount, scores_of_seeds = _read_seeds(path)
            found[amount] += scores_of_seeds
    if not found:
        raise CardError(
            f"{place}: holds no finished run of echoapex finetune ({RECIPE_FILE} and {JOURNAL_FILE} with scores, or "
            f"{SEEDS_FILE})"
        )
    units = sorted({amount.unit for amount in found} - {"all"})
    if len(units) > 1:
        raise CardError(f"{place}: counts labels in {' and in '.join(units)}; give one folder for each")
    ordered = sorted(found, key=lambda each: np.inf if each.amount is None else each.amount)
    return LabelCurve(name=name, points=tuple(_point(amount, found[amount]) for amount in ordered))


def _read_seeds(path: Path) -> tuple[LabelAmount, list[dict[str, float]]]:
    """How many labels the runs of a ``seeds.json`` learned from, and the figures of each.

    Raises:
        CardError: it is damaged, or nothing says how many labels.
    """
    content = read_json_file(path, SeedsFile, "echoapex finetune --seeds")
    recipe = path.parent / "seed-0" / RECIPE_FILE
    task = content.labels if content.labels is not None else _read(recipe).get("task", {}) if recipe.is_file() else None
    if task is None:
        raise CardError(f"{path}: does not say how many labels were learned from; keep seed-0/{RECIPE_FILE} beside it")
    return _amount_of(task), content.seeds


def _amount_of(task: Mapping[str, Any]) -> LabelAmount:
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


def _method(recipe: Mapping[str, Any]) -> str:
    """A recipe without its seeds, its number of labels and what does not change what is learned."""

    def seedless(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: seedless(each) for key, each in value.items() if key != "seed"}
        return value

    sections = {
        name: {key: value for key, value in (recipe.get(name) or {}).items() if key not in _NOT_THE_METHOD}
        for name in ("task", "train")
    }
    return json.dumps(seedless(sections), sort_keys=True)


def _final_scores(path: Path, recipe: Mapping[str, Any]) -> dict[str, float]:
    """The figures after the last step of a run; empty for one that has not come to it."""
    last = recipe.get("train", {}).get("steps")
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
            if last is not None and entry.get("step") != last - 1:
                return {}
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
