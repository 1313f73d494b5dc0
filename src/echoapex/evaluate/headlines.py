"""The scores that stand for an evaluation: what a summary shows and what sets of weights are compared by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from echoapex.evaluate.metrics_file import MetricsFile, Score
from echoapex.vocabulary import Application, Structure


class Headline(NamedTuple):
    """One headline score: its name with its unit, what it judges, and how many digits after the point it deserves."""

    name: str
    application: Application
    score: Score
    digits: int


def headlines(metrics: MetricsFile) -> Iterator[Headline]:
    """Every headline in a fixed order, those that nothing was scored for too."""
    views, fractions = metrics.views, metrics.ejection_fraction
    walls, discs = metrics.lv_wall, metrics.ejection_fraction_discs
    yield Headline("view, balanced accuracy", Application.VIEW_CLASSIFICATION, views.balanced_accuracy, 3)
    yield Headline("view, pixel baseline", Application.VIEW_CLASSIFICATION, views.baseline_pixels, 3)
    yield Headline("view, calibration error", Application.VIEW_CLASSIFICATION, views.expected_calibration_error, 3)
    for structure in Structure:
        scores, title = metrics.segmentation.of(structure), structure.display_name
        yield Headline(f"Dice, {title}", Application.SEGMENTATION, scores.dice, 3)
        yield Headline(f"HD95, {title} (mm)", Application.SEGMENTATION, scores.hd95_mm, 1)
    yield Headline("EF, MAE (points)", Application.EJECTION_FRACTION, fractions.mae, 2)
    yield Headline("EF, RMSE (points)", Application.EJECTION_FRACTION, fractions.rmse, 2)
    yield Headline("EF, R2", Application.EJECTION_FRACTION, fractions.r2, 3)
    yield Headline("EF, ICC", Application.EJECTION_FRACTION, fractions.icc, 3)
    # discs are laid on outlines
    yield Headline("EF by discs, MAE (points)", Application.SEGMENTATION, discs.mae, 2)
    yield Headline("IVSd, MAE (mm)", Application.LV_WALL, walls.ivsd.mae_mm, 2)
    yield Headline("LVIDd, MAE (mm)", Application.LV_WALL, walls.lvidd.mae_mm, 2)
    yield Headline("LVPWd, MAE (mm)", Application.LV_WALL, walls.lvpwd.mae_mm, 2)
    yield Headline("LV hypertrophy, AUROC", Application.LV_WALL, metrics.lvh.auroc, 3)
