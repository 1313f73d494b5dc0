"""Things that are slow to make and that several rooms test with: made once per session."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dicom_results import DicomResults
from phantom_oracle import PhantomOracle, write_labelled_study
from recomputed_values import check_written_values
from s3_server import S3ServerForTests

from echoapex.domain import StudyReport
from echoapex.infer.outputs.dicom_files import DicomOutput, ReportTemplate
from echoapex.infer.study.analyze import NamedInterpreter, StudyAnalyzer
from echoapex.models.precision import choose_precision
from echoapex.phantom.truth import StudyTruth
from echoapex.vocabulary import View

os.environ.setdefault("ECHOAPEX_BUNDLE", "phantom")
"""Tests use the small set, which is quick; ``tests/models/test_default_set.py`` uses the default one."""


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes are named by their argument: what they hold, such as a time of day, must not name a test."""
    return argname if isinstance(val, bytes) else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """On which kind of machine the tests ran: with fast bf16 or without."""
    chosen = choose_precision("auto")
    terminalreporter.write_line(f"precision auto was {chosen.name} here: {chosen.reason}")


@dataclass(frozen=True)
class LabelledStudy:
    """A phantom study on disk with its truth, and an interpreter that knows it."""

    folder: Path
    truth: StudyTruth
    oracle: PhantomOracle


@pytest.fixture(scope="session")
def labelled_study(tmp_path_factory: pytest.TempPathFactory) -> LabelledStudy:
    """Three clips of one patient: A4C, A2C and PLAX, with label maps of every frame."""
    folder = tmp_path_factory.mktemp("phantom") / "study"
    truth = write_labelled_study(folder, (View.A4C, View.A2C, View.PLAX))
    return LabelledStudy(folder, truth, PhantomOracle().learn(folder, truth))


@pytest.fixture(scope="session")
def dicom_results(labelled_study: LabelledStudy, tmp_path_factory: pytest.TempPathFactory) -> DicomResults:
    """The study analysed, with all kinds of DICOM objects."""
    out = tmp_path_factory.mktemp("dicom") / "results"
    analyzer = StudyAnalyzer(NamedInterpreter(labelled_study.oracle, "oracle", "cpu"), raise_unexpected=True)
    report = analyzer.run([labelled_study.folder], out, None, DicomOutput(True, True, True, tuple(ReportTemplate)))
    return DicomResults(out, report, labelled_study.folder)


@pytest.fixture(scope="session", autouse=True)
def every_value_is_computed_again() -> Iterator[None]:
    """Whatever study a test analyses into a folder: each value must follow from the files that were written."""
    run = StudyAnalyzer.run

    def run_and_check(
        analyzer: StudyAnalyzer, paths: Sequence[Path | str], out: Path | None = None, *rest: Any
    ) -> StudyReport:
        report = run(analyzer, paths, out, *rest)
        if out is not None:
            check_written_values(out)
        return report

    patch = pytest.MonkeyPatch()
    patch.setattr(StudyAnalyzer, "run", run_and_check)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3ServerForTests]:
    """An S3 server on loopback."""
    server = S3ServerForTests()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3ServerForTests, monkeypatch: pytest.MonkeyPatch) -> S3ServerForTests:
    """The S3 server, with the environment variables by which programs find it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server
