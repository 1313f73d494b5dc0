"""Secondary captures: valid, exact pixels, and nobody can take them for images of a scanner."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_results import DicomResults, dicom_errors
from pydicom import dcmread
from pydicom.uid import RLELossless

from echoapex.domain.clip import ContentKind
from echoapex.domain.results import DISCLAIMER
from echoapex.io.dicom.derived_object import Software
from echoapex.io.dicom.reader import open_dicom
from echoapex.io.dicom.source_instance import SourceInstance, read_source_instance
from echoapex.io.report_values import FrameReference
from echoapex.io.secondary_capture import (
    TRUE_COLOUR_SECONDARY_CAPTURE,
    build_secondary_capture,
    write_secondary_capture,
)

SOFTWARE = Software("1.0", "set", {"encoder": "0" * 64}, DISCLAIMER)


@pytest.fixture
def source(dicom_results: DicomResults) -> SourceInstance:
    return read_source_instance(dicom_results.sources / "A4C.dcm", "clip")


def pictures(count: int, size: tuple[int, int] = (31, 45)) -> list[np.ndarray]:
    generator = np.random.default_rng(2)
    return [generator.integers(0, 255, (*size, 3), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 3])
def test_the_pixels_come_back_and_the_object_is_valid(count: int, source: SourceInstance, tmp_path: Path) -> None:
    drawn = pictures(count)
    path = write_secondary_capture(tmp_path / "sc.dcm", drawn, [FrameReference(source, (4, 9))], SOFTWARE, "1.2.3")
    assert dicom_errors(path) == []
    dataset = dcmread(path)
    assert dataset.SOPClassUID == TRUE_COLOUR_SECONDARY_CAPTURE
    assert dataset.file_meta.TransferSyntaxUID == RLELossless
    np.testing.assert_array_equal(dataset.pixel_array.reshape(count, 31, 45, 3), np.stack(drawn))


@pytest.mark.skipif(shutil.which("dcmdrle") is None, reason="dcmdrle is not installed (on Debian: dcmtk)")
def test_dcmtk_decodes_the_same_pixels(dicom_results: DicomResults, tmp_path: Path) -> None:
    subprocess.run(["dcmdrle", dicom_results.pictures, tmp_path / "plain.dcm"], check=True)
    plain = dcmread(tmp_path / "plain.dcm")
    assert not plain.file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(plain.pixel_array, dcmread(dicom_results.pictures).pixel_array)


def test_it_says_that_it_is_derived_and_from_what(source: SourceInstance) -> None:
    still = replace(source, frames=1, elements={**source.elements, "SOPInstanceUID": "1.9"})
    references = [FrameReference(source, (4, 9)), FrameReference(still, (0,))]
    dataset = build_secondary_capture(pictures(2), references, SOFTWARE, "1.2.3")
    assert list(dataset.ImageType) == ["DERIVED", "SECONDARY"]
    assert dataset.BurnedInAnnotation == "YES"
    assert dataset.ConversionType == "WSD"
    assert "EchoApex" in dataset.DerivationDescription
    assert dataset.ImageComments == DISCLAIMER
    clip, image = dataset.SourceImageSequence
    assert clip.ReferencedSOPInstanceUID == source.sop_instance_uid
    assert list(clip.ReferencedFrameNumber) == [5, 10]
    assert "ReferencedFrameNumber" not in image
    assert "not verified" in dataset.SeriesDescription


def test_lossy_compression_of_any_source_is_told(source: SourceInstance) -> None:
    method = {"LossyImageCompressionRatio": "9.5", "LossyImageCompressionMethod": "ISO_10918_1"}
    lossless = replace(source, elements={**source.elements, "LossyImageCompression": "00"})
    lossy = replace(source, elements={**source.elements, "LossyImageCompression": "01", **method})
    references = [FrameReference(lossless, ()), FrameReference(lossy, ())]
    dataset = build_secondary_capture(pictures(1), references, SOFTWARE, "1.2.3")
    assert (dataset.LossyImageCompression, dataset.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert build_secondary_capture(pictures(1), references[:1], SOFTWARE, "1.2.3").LossyImageCompression == "00"


def test_it_holds_no_identifier_that_a_report_does_not_hold(dicom_results: DicomResults) -> None:
    """Patient module, study and series: what the structured report has, and nothing else of the source."""
    allowed = {element.keyword for element in dcmread(dicom_results.measurement_report)}
    source = dcmread(dicom_results.sources / "A4C.dcm")
    captured = dcmread(dicom_results.pictures, stop_before_pixels=True)
    groups = {"PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyDate", "AccessionNumber"}
    for keyword in groups:
        assert captured[keyword].value == source[keyword].value
    about_patient = {element.keyword for element in captured if element.tag.group == 0x0010}
    assert about_patient <= allowed | {"PatientAge", "PatientSize", "PatientWeight"}
    for keyword in ("InstitutionName", "OperatorsName", "StationName", "PatientComments", "StudyDescription"):
        assert keyword not in captured


def test_analysis_sets_its_own_pictures_aside(dicom_results: DicomResults) -> None:
    """A folder with results must not be measured as a study."""
    clip = open_dicom(dicom_results.pictures, display_name="clip")
    assert clip.header.content is ContentKind.NOT_ECHO


def test_impossible_pictures_are_refused(source: SourceInstance) -> None:
    reference = [FrameReference(source, (0,))]
    with pytest.raises(ValueError, match="a picture and a source"):
        build_secondary_capture([], reference, SOFTWARE, "1.2.3")
    with pytest.raises(ValueError, match="one size"):
        build_secondary_capture([*pictures(1), *pictures(1, (30, 45))], reference, SOFTWARE, "1.2.3")
