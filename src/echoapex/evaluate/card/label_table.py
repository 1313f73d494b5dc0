"""The table of few labels: every figure at every amount, and whether one start is really ahead of another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from echoapex.evaluate.card.card_file import LabelCurve, LabelPoint, SeedMean
from echoapex.evaluate.card.cells import head_row, interval_cell, number_cell
from echoapex.evaluate.card.label_metrics import higher_is_better, metric_label


@dataclass(frozen=True)
class Lead:
    """At how many shared amounts a curve is ahead of another, or behind: their intervals do not touch."""

    ahead: int
    behind: int
    shared: int


@dataclass(frozen=True)
class LabelFigure:
    """One figure of all curves that have it and count labels in the same unit."""

    metric: str
    unit: str
    curves: tuple[LabelCurve, ...]


def label_figures(curves: Sequence[LabelCurve]) -> list[LabelFigure]:
    """Figures that are better in one way, in the order in which they come."""
    found: dict[tuple[str, str], list[LabelCurve]] = {}
    for curve in curves:
        unit = next((point.unit for point in curve.points if point.unit != "all"), "clips")
        for metric in dict.fromkeys(name for point in curve.points for name in point.scores):
            if higher_is_better(metric) is not None and all(metric in point.scores for point in curve.points):
                found.setdefault((metric, unit), []).append(curve)
    return [LabelFigure(metric, unit, tuple(of_metric)) for (metric, unit), of_metric in found.items()]


def lead_over(first: LabelCurve, other: LabelCurve, metric: str) -> Lead:
    """How often ``other`` is ahead of ``first`` in a figure."""
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
    """A block for each figure: curves down, amounts of labels across, and who is ahead; "" where there is no figure."""
    figures = label_figures(curves)
    if not figures:
        return ""
    columns = max(len(_amounts(figure)) for figure in figures)
    body = "".join(f"<tbody>{''.join(_block(figure, columns))}</tbody>" for figure in figures)
    heads = head_row(("Figure", "Labelled", *[""] * (columns - 1)))
    return f'<div class="wide"><table class="labels"><thead>{heads}</thead>{body}</table></div>'


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


def _leads(figure: LabelFigure) -> Iterator[str]:
    first, *others = figure.curves
    for other in others:
        lead = lead_over(first, other, figure.metric)
        if lead.shared and not lead.ahead and not lead.behind:
            yield f"{other.name} is neither ahead of {first.name} nor behind at any of {lead.shared} amounts"
        elif lead.shared:
            behind = f", behind at {lead.behind}" if lead.behind else ""
            yield f"{other.name} is ahead of {first.name} at {lead.ahead} of {lead.shared} amounts{behind}"


def _amounts(figure: LabelFigure) -> list[float | None]:
    known = {point.amount for curve in figure.curves for point in curve.points}
    return sorted(known, key=lambda amount: float("inf") if amount is None else amount)


def _amount_text(amount: float | None, unit: str) -> str:
    if amount is None:
        return "all"
    return f"{amount:g} %" if unit == "percent" else f"{amount:g} {unit}"


def _cell(point: LabelPoint | None, metric: str) -> str:
    return "–" if point is None else _score(point.scores[metric], 2 if not higher_is_better(metric) else 3)


def _score(score: SeedMean, digits: int) -> str:
    interval = f' <span class="interval">{interval_cell(score.ends, digits)}</span>' if score.ends else ""
    return f"{number_cell(score.mean, digits)}{interval}"
