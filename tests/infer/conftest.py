from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import LabelledStudy

from echoapex.domain import StudyReport
from echoapex.infer.study.analyze import NamedInterpreter, StudyAnalyzer


@dataclass(frozen=True)
class AnalysedStudy:
    out: Path
    report: StudyReport


@pytest.fixture(scope="session")
def analysed(labelled_study: LabelledStudy, tmp_path_factory: pytest.TempPathFactory) -> AnalysedStudy:
    """The labelled study analysed with perfect models."""
    out = tmp_path_factory.mktemp("results")
    models = NamedInterpreter(labelled_study.oracle, "oracle", "cpu")
    report = StudyAnalyzer(models, raise_unexpected=True).run([labelled_study.folder], out)
    return AnalysedStudy(out, report)
