"""The scores of an evaluation as a table for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from echoapex.evaluate.metrics_file import MetricsFile, Score
from echoapex.vocabulary import Structure


def summary_table(metrics: MetricsFile) -> Table:
    """One row per headline score: value, 95 % interval, cases, and how many got no answer."""
    table = Table("score", "value", "95 % interval", "n", "missing", title=None, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, score, digits in _headlines(metrics):
        if score.n or score.missing:
            table.add_row(
                name, _number(score.value, digits), _interval(score, digits), str(score.n), str(score.missing)
            )
    return table


def _headlines(metrics: MetricsFile) -> Iterator[tuple[str, Score, int]]:
    """Name, score and digits after the point."""
    yield "view, balanced accuracy", metrics.views.balanced_accuracy, 3
    yield "view, pixel baseline", metrics.views.baseline_pixels, 3
    for structure in Structure:
        yield f"Dice, {structure.display_name}", metrics.segmentation.of(structure).dice, 3
    yield "EF, MAE (points)", metrics.ejection_fraction.mae, 2
    yield "EF, RMSE (points)", metrics.ejection_fraction.rmse, 2
    yield "EF, R2", metrics.ejection_fraction.r2, 3
    yield "EF by discs, MAE (points)", metrics.ejection_fraction_discs.mae, 2
    yield "IVSd, MAE (mm)", metrics.lv_wall.ivsd.mae_mm, 2
    yield "LVIDd, MAE (mm)", metrics.lv_wall.lvidd.mae_mm, 2
    yield "LVPWd, MAE (mm)", metrics.lv_wall.lvpwd.mae_mm, 2


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _interval(score: Score, digits: int) -> str:
    return " to ".join(_number(end, digits) for end in score.interval) if score.interval else "-"
