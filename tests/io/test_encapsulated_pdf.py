"""The report as Encapsulated PDF: valid, byte for byte the report, about the images of its study."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import LabelledStudy
from dicom_results import dicom_errors
from pydicom import dcmread
from pydicom.sr._concepts_dict import concepts
from real_files import real_dicom

from echoapex.io.dicom.derived_object import Software, new_uid
from echoapex.io.dicom.source_instance import SourceInstance, read_source_instance
from echoapex.io.encapsulated_pdf import ENCAPSULATED_PDF, write_encapsulated_pdf

SOFTWARE = Software("1", "set", {"encoder": "0" * 64}, "Research software")


@pytest.fixture
def sources(labelled_study: LabelledStudy) -> list[SourceInstance]:
    return [read_source_instance(path, path.name) for path in sorted(labelled_study.folder.glob("*.dcm"))]


@pytest.mark.parametrize("document", [b"%PDF-1.4 even", b"%PDF-1.4 odd"])
def test_it_is_valid_and_holds_the_document(document: bytes, sources: list[SourceInstance], tmp_path: Path) -> None:
    """A value of DICOM has an even length; its true length is beside it."""
    path = write_encapsulated_pdf(tmp_path / "pdf.dcm", document, sources, SOFTWARE, new_uid())
    assert dicom_errors(path) == []
    dataset = dcmread(path)
    assert dataset.SOPClassUID == ENCAPSULATED_PDF
    assert ENCAPSULATED_PDF.name == "Encapsulated PDF Storage"
    assert dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength] == document
    assert len(dataset.EncapsulatedDocument) % 2 == 0


def test_it_belongs_to_the_patient_and_the_study_of_its_images(sources: list[SourceInstance], tmp_path: Path) -> None:
    dataset = dcmread(write_encapsulated_pdf(tmp_path / "pdf.dcm", b"%PDF-", sources, SOFTWARE, new_uid()))
    for keyword in ("PatientID", "StudyInstanceUID", "AccessionNumber"):
        assert str(dataset[keyword].value) == sources[0].elements[keyword]
    assert [str(item.ReferencedSOPInstanceUID) for item in dataset.SourceInstanceSequence] == [
        source.sop_instance_uid for source in sources
    ]
    assert "not verified" in dataset.SeriesDescription
    assert "not verified" in dataset.DocumentTitle
    title = dataset.ConceptNameCodeSequence[0]
    meanings = [by_code[title.CodeValue][0] for by_code in concepts["LN"].values() if title.CodeValue in by_code]
    assert title.CodeMeaning in meanings


@pytest.mark.parametrize("name", ["examples_ybr_color.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm"])
def test_it_is_valid_about_real_images(name: str, tmp_path: Path) -> None:
    source = read_source_instance(real_dicom(name), "clip")
    path = write_encapsulated_pdf(tmp_path / "pdf.dcm", b"%PDF-1.4 x", [source], SOFTWARE, new_uid())
    assert dicom_errors(path) == []


def test_what_is_no_pdf_or_has_no_image_is_refused(sources: list[SourceInstance], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no PDF"):
        write_encapsulated_pdf(tmp_path / "a.dcm", b"<html>", sources, SOFTWARE, new_uid())
    with pytest.raises(ValueError, match="needs an image"):
        write_encapsulated_pdf(tmp_path / "a.dcm", b"%PDF-", [], SOFTWARE, new_uid())
    assert not (tmp_path / "a.dcm").exists()
