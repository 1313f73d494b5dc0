"""Label efficiency: how scores grow with the number of labels, for fine-tuning runs and for probes of a frozen encoder.

``benchmarks/label_efficiency.py`` writes ``label_efficiency.json``: for each encoder and task, the score of a linear
probe with its 95 % interval, at growing shares of the labelled patients.

Runs of ``echoapex finetune`` are read from their folders. A folder may hold many runs. Each is recognised by its
``recipe.json``, which gives the number of clips, percent or patients that it learned from. Runs that differ only in the
seed (``--seeds``) are averaged; runs of different recipes are refused. If only ``seeds.json`` of such runs was kept, it
contains the same information. The scores are those of the runs' own validation after the last step.

The table shows every score at every number of labels, and whether one curve is ahead of another.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, Field, RootModel
from scipy import stats

from echoapex.config import Config
from echoapex.evaluate.card.card_file import LabelCurve, LabelPoint, SeedMean
from echoapex.evaluate.card.html_table import head_row, interval_cell, number_cell
from echoapex.evaluate.card.rows import read_json_file
from echoapex.evaluate.card.targets import CardError, higher_is_better, metric_label

PROBE_PREFIX = "probe/"

RECIPE_FILE, JOURNAL_FILE, SEEDS_FILE = "recipe.json", "journal.jsonl", "seeds.json"
_NOT_THE_METHOD = {"few_shot", "patients", "device", "parallel", "activation_checkpointing", "compile"}
LabelUnit = Literal["clips", "patients", "percent", "all"]


class ProbeRow(Config):
    """The score of a probe at one share of the labels."""

    share: float
    patients: int
    score: float
    low: float
    high: float


Rows = Annotated[tuple[ProbeRow, ...], Field(min_length=1)]


class ProbeFile(RootModel[dict[str, dict[str, Rows]]]):
    """Content of ``label_efficiency.json``: encoder: task: rows."""


def read_probe_curves(path: Path) -> list[LabelCurve]:
    """Read a curve for each encoder and task; the first encoder of the file is the one that others are compared with.

    Raises:
        CardError: the file cannot be read, or is empty.
    """
    found = read_json_file(path, ProbeFile, "benchmarks/label_efficiency.py").root
    curves = [_curve(encoder, task, rows) for encoder, tasks in found.items() for task, rows in tasks.items()]
    if not curves:
        raise CardError(f"{path}: holds no encoder; run benchmarks/label_efficiency.py again")
    return curves


class LabelAmount(NamedTuple):
    """The number of labels that a run learned from; ``amount`` is None for all labels."""

    unit: LabelUnit
    amount: float | None


class SeedsFile(BaseModel):
    """The part of ``seeds.json`` that the card uses."""

    seeds: Annotated[list[dict[str, float]], Field(min_length=1)]
    labels: dict[str, Any] | None = None


def read_label_curve(name: str, place: Path) -> LabelCurve:
    """Read all finished runs below a folder, or those of a ``seeds.json``, as one curve, fewest labels first.

    Raises:
        CardError: there is no run, a file is damaged, the recipes differ in more than seed and number of labels, or
            the labels are counted in different units.
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
        if not any(path.parent in run.parents for run in runs):  # else its runs were read individually
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


@dataclass(frozen=True)
class Lead:
    """At how many shared numbers of labels a curve is ahead of another or behind (the intervals do not touch)."""

    ahead: int
    behind: int
    shared: int


@dataclass(frozen=True)
class LabelFigure:
    """One metric, with all curves that have it and count labels in the same unit."""

    metric: str
    unit: str
    curves: tuple[LabelCurve, ...]


def label_figures(curves: Sequence[LabelCurve]) -> list[LabelFigure]:
    """All metrics with a known better direction, in order of appearance."""
    found: dict[tuple[str, str], list[LabelCurve]] = {}
    for curve in curves:
        unit = next((point.unit for point in curve.points if point.unit != "all"), "clips")
        for metric in dict.fromkeys(name for point in curve.points for name in point.scores):
            if higher_is_better(metric) is not None and all(metric in point.scores for point in curve.points):
                found.setdefault((metric, unit), []).append(curve)
    return [LabelFigure(metric, unit, tuple(of_metric)) for (metric, unit), of_metric in found.items()]


def lead_over(first: LabelCurve, other: LabelCurve, metric: str) -> Lead:
    """How often ``other`` is ahead of ``first`` in a metric."""
    known = {point.amount: point.scores[metric].ends for point in first.points}
    pairs = [
        (known[point.amount], ends)
        for point in other.points
        if known.get(point.amount) is not None and (ends := point.scores[metric].ends) is not None
    ]
    above = sum(ends[0] > base[1] for base, ends in pairs if base)
    below = sum(ends[1] < base[0] for base, ends in pairs if base)
    ahead, behind = (above, below) if higher_is_better(metric) else (below, above)
    return Lead(ahead, behind, len(pairs))


def label_table(curves: Sequence[LabelCurve]) -> str:
    """A block per metric: a row per curve, a column per number of labels, and which curve is ahead. Empty if none."""
    figures = label_figures(curves)
    if not figures:
        return ""
    columns = max(len(_amounts(figure)) for figure in figures)
    body = "".join(f"<tbody>{''.join(_block(figure, columns))}</tbody>" for figure in figures)
    heads = head_row(("Figure", "Labelled", *[""] * (columns - 1)))
    return f'<div class="wide"><table class="labels"><thead>{heads}</thead>{body}</table></div>'


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


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CardError(f"{path}: is no recipe of a run ({error}); take the run out, or run it again") from error
    if not isinstance(content, dict):
        raise CardError(f"{path}: is no recipe of a run; take the run out, or run it again")
    return content


def _final_scores(path: Path, recipe: Mapping[str, Any]) -> dict[str, float]:
    """The scores after the last step of a run; empty if the run is not finished."""
    last = recipe.get("train", {}).get("steps")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:  # an interrupted run may leave an incomplete line
            continue
        if isinstance(entry, dict) and "scores" in entry:
            if last is not None and entry.get("step") != last - 1:
                return {}
            return {str(name): float(value) for name, value in entry["scores"].items()}
    return {}


def _method(recipe: Mapping[str, Any]) -> str:
    """A recipe without seeds, number of labels, and settings that do not change what is learned."""

    def seedless(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: seedless(each) for key, each in value.items() if key != "seed"}
        return value

    sections = {
        name: {key: value for key, value in (recipe.get(name) or {}).items() if key not in _NOT_THE_METHOD}
        for name in ("task", "train")
    }
    return json.dumps(seedless(sections), sort_keys=True)


def _amount_of(task: Mapping[str, Any]) -> LabelAmount:
    few = task.get("few_shot") or {}
    units: tuple[LabelUnit, ...] = ("clips", "percent")
    for unit in units:
        if few.get(unit) is not None:
            return LabelAmount(unit, float(few[unit]))
    if task.get("patients") is not None:
        return LabelAmount("patients", float(task["patients"]))
    return LabelAmount("all", None)


def _read_seeds(path: Path) -> tuple[LabelAmount, list[dict[str, float]]]:
    """The number of labels of the runs of a ``seeds.json``, and the scores of each run.

    Raises:
        CardError: the file is damaged, or the number of labels is unknown.
    """
    content = read_json_file(path, SeedsFile, "echoapex finetune --seeds")
    recipe = path.parent / "seed-0" / RECIPE_FILE
    task = content.labels if content.labels is not None else _read(recipe).get("task", {}) if recipe.is_file() else None
    if task is None:
        raise CardError(f"{path}: does not say how many labels were learned from; keep seed-0/{RECIPE_FILE} beside it")
    return _amount_of(task), content.seeds


def _point(amount: LabelAmount, runs: list[dict[str, float]]) -> LabelPoint:
    names = [name for name in runs[0] if all(name in run for run in runs)]
    return LabelPoint(
        amount=amount.amount,
        unit=amount.unit,
        runs=len(runs),
        scores={name: _over_seeds([run[name] for run in runs]) for name in names},
    )


def _over_seeds(values: list[float]) -> SeedMean:
    """Mean, and half the width of its 95 % interval (Student's t)."""
    if len(values) < 2:
        return SeedMean(mean=values[0])
    spread = float(stats.t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return SeedMean(mean=round(float(np.mean(values)), 6), half_width=round(spread, 6))


def _amounts(figure: LabelFigure) -> list[float | None]:
    known = {point.amount for curve in figure.curves for point in curve.points}
    return sorted(known, key=lambda amount: float("inf") if amount is None else amount)


def _block(figure: LabelFigure, columns: int) -> Iterator[str]:
    amounts = _amounts(figure)
    empty = "<td></td>" * (columns - len(amounts))
    named = "".join(f'<td class="amount">{_amount_text(amount, figure.unit)}</td>' for amount in amounts)
    yield f'<tr class="figure-name"><th scope="rowgroup">{escape(metric_label(figure.metric))}</th>{named}{empty}</tr>'
    for curve in figure.curves:
        of = {point.amount: point for point in curve.points}
        cells = "".join(f"<td>{_cell(of.get(amount), figure.metric)}</td>" for amount in amounts)
        yield f'<tr><th scope="row">{escape(curve.name)}</th>{cells}{empty}</tr>'
    said = list(_leads(figure))
    if said:
        yield f'<tr class="details"><td colspan="{columns + 1}">{escape("; ".join(said))}</td></tr>'


def _amount_text(amount: float | None, unit: str) -> str:
    if amount is None:
        return "all"
    return f"{amount:g} %" if unit == "percent" else f"{amount:g} {unit}"


def _cell(point: LabelPoint | None, metric: str) -> str:
    return "–" if point is None else _score(point.scores[metric], 2 if not higher_is_better(metric) else 3)


def _score(score: SeedMean, digits: int) -> str:
    interval = f' <span class="interval">{interval_cell(score.ends, digits)}</span>' if score.ends else ""
    return f"{number_cell(score.mean, digits)}{interval}"


def _leads(figure: LabelFigure) -> Iterator[str]:
    first, *others = figure.curves
    for other in others:
        lead = lead_over(first, other, figure.metric)
        if lead.shared and not lead.ahead and not lead.behind:
            yield f"{other.name} is neither ahead of {first.name} nor behind at any of {lead.shared} amounts"
        elif lead.shared:
            behind = f", behind at {lead.behind}" if lead.behind else ""
            yield f"{other.name} is ahead of {first.name} at {lead.ahead} of {lead.shared} amounts{behind}"
