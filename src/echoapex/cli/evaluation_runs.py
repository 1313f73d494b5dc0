"""Analyses every study of a reference with one set of models, each into a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from echoapex.domain import StudyReport
from echoapex.evaluate.reference import ReferenceClip, ReferenceSet
from echoapex.infer.known_clip import KnownClip
from echoapex.infer.options import AnalysisOptions
from echoapex.infer.study import Models, StudyAnalyzer

_OPTIONS = AnalysisOptions(overlays=False)
FOUND_VIEWS, GIVEN_VIEWS = "predictions", "predictions_known_views"


def analyze_reference(
    reference: ReferenceSet, models: Models, out: Path, *, give_views: bool = False
) -> Iterator[StudyReport]:
    """Analyse study by study; finished studies are taken over.

    Of the truth the analysis is told the pixel size where the data set knows it and the file does not, which frames to
    outline beside those it chooses (never their phase), and, when ``give_views``, the view of every clip.

    Args:
        reference: the studies.
        models: what reads them.
        out: folder for one results folder per study.
        give_views: tell the analysis the true view of every clip that has one.

    Yields:
        The reports, in order.
    """
    for study in reference.studies:
        known = {clip.sha256: _known(clip, give_views) for clip in study.clips}
        paths = [clip.path for clip in study.clips]
        yield StudyAnalyzer(models, _OPTIONS, known=known).run(paths, out / study.folder)


def _known(clip: ReferenceClip, give_views: bool) -> KnownClip:
    return KnownClip(clip.view if give_views else None, clip.spacing, clip.outlined_frames)
