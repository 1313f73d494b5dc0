"""The scores of an evaluation as a table for people."""

from __future__ import annotations

from rich.table import Table

from echoapex.evaluate.comparison import Comparison, ComparisonFile
from echoapex.evaluate.headlines import headlines
from echoapex.evaluate.metrics_file import MetricsFile, Score


def summary_table(metrics: MetricsFile) -> Table:
    """One row per headline score: value, 95 % interval, cases, and how many got no answer."""
    table = Table("score", "value", "95 % interval", "n", "missing", title=None, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, _, score, digits in headlines(metrics):
        if score.n or score.missing:
            table.add_row(
                name, _number(score.value, digits), _interval(score, digits), str(score.n), str(score.missing)
            )
    return table


def comparison_table(compared: ComparisonFile) -> Table:
    """One row per metric: both means, their difference with its interval, and how sure it is."""
    table = Table(
        "paired comparison", "against", "this", "difference", "95 % interval", "p", "better", box=None, pad_edge=False
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for row in compared.comparisons:
        low, high = row.interval
        table.add_row(
            f"{row.metric} ({row.unit})" if row.unit else row.metric,
            f"{row.first:.3f}",
            f"{row.second:.3f}",
            f"{row.difference:+.3f}",
            f"{low:+.3f} to {high:+.3f}",
            f"{row.p_bootstrap:.3f}",
            _better(row),
        )
    return table


def _better(row: Comparison) -> str:
    """Which of the two, where the interval leaves zero out."""
    low, high = row.interval
    if low <= 0 <= high:
        return "-"
    return "this" if (row.difference > 0) is row.higher_is_better else "against"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _interval(score: Score, digits: int) -> str:
    return " to ".join(_number(end, digits) for end in score.interval) if score.interval else "-"
