"""A clip of each view with perfect models, prepared once for all tests of the review."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import pytest
from conftest import LabelledStudy

from echoapex.infer.clip.analyze import ClipAnalysis, analyze_clip
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.review.recomputation import ClipRecomputation
from echoapex.io.study_files import open_only_clip
from echoapex.vocabulary import View


@dataclass(frozen=True)
class Reviewed:
    """A clip that can be computed again, and its analysis by the usual way."""

    clip: ClipRecomputation
    before: ClipAnalysis


def open_view(study: LabelledStudy, view: View, options: AnalysisOptions | None = None) -> Reviewed:
    truth = study.truth.find(view)
    assert truth is not None
    with closing(open_only_clip(study.folder / truth.file)) as source:
        clip = ClipRecomputation(study.oracle, source, options)
        before = analyze_clip(source, clip.header.clip_id, study.oracle, options or AnalysisOptions())
    return Reviewed(clip, before)


@pytest.fixture(scope="session")
def a4c(labelled_study: LabelledStudy) -> Reviewed:
    return open_view(labelled_study, View.A4C)


@pytest.fixture(scope="session")
def plax(labelled_study: LabelledStudy) -> Reviewed:
    return open_view(labelled_study, View.PLAX)
