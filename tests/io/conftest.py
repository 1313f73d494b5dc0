"""One analysed study with its DICOM reports and segmentations, made once."""

from __future__ import annotations

import pytest
from conftest import LabelledStudy
from dicom_results import DicomResults

from echoapex.infer.outputs.dicom_files import DicomOutput
from echoapex.infer.study.analyze import NamedInterpreter, StudyAnalyzer


@pytest.fixture(scope="session")
def dicom_results(labelled_study: LabelledStudy, tmp_path_factory: pytest.TempPathFactory) -> DicomResults:
    out = tmp_path_factory.mktemp("dicom") / "results"
    models = NamedInterpreter(labelled_study.oracle, "oracle", "cpu")
    analyzer = StudyAnalyzer(models, raise_unexpected=True)
    report = analyzer.run([labelled_study.folder], out, None, DicomOutput(True, True))
    return DicomResults(out, report, labelled_study.folder)
