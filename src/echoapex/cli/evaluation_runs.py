"""Analyses every study of a reference with one set of models, each into a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from echoapex.domain import StudyReport
from echoapex.evaluate.reference import ReferenceSet
from echoapex.infer.known_view import KnownViewInterpreter
from echoapex.infer.options import AnalysisOptions
from echoapex.infer.study import Models, StudyAnalyzer

_OPTIONS = AnalysisOptions(overlays=False)
FOUND_VIEWS, GIVEN_VIEWS = "predictions", "predictions_given_views"


def analyze_reference(
    reference: ReferenceSet, models: Models, out: Path, *, give_views: bool = False
) -> Iterator[StudyReport]:
    """Analyse study by study, without any truth but, when ``give_views``, the view; finished studies are taken over.

    Args:
        reference: the studies.
        models: what reads them.
        out: folder for one results folder per study; with given views one per clip.
        give_views: tell the analysis the true view of every clip.

    Yields:
        The reports, in order.
    """
    for study in reference.studies:
        if not give_views:
            yield StudyAnalyzer(models, _OPTIONS).run([clip.path for clip in study.clips], out / study.patient)
            continue
        for clip in study.clips:
            told = Models(KnownViewInterpreter(models.interpreter, clip.view), models.bundle, models.device)
            yield StudyAnalyzer(told, _OPTIONS).run([clip.path], out / study.patient / clip.view)
