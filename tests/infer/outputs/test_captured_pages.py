"""The pages of a secondary capture show the tiles and the values, and the references name the frames shown."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_results import DicomResults
from PIL import Image
from pydicom import dcmread

from echoapex.infer.outputs.captured_pages import compose_pages, shown_frames
from echoapex.io.dicom.source_instance import SourceInstance, read_source_instance
from echoapex.io.report_values import StudyValuesForDicom, select_values

HEAD, IMAGE = 84, 500


@pytest.fixture
def sources(dicom_results: DicomResults) -> dict[str, SourceInstance]:
    """By clip ID, found by the sha256 in the evidence."""
    import hashlib

    digests = {
        evidence.input_sha256: evidence.clip_id
        for item in dicom_results.report.measurements
        for evidence in item.evidence
    }
    return {
        digests[hashlib.sha256(path.read_bytes()).hexdigest()]: read_source_instance(path, path.name)
        for path in dicom_results.sources.glob("*.dcm")
    }


@pytest.fixture
def study(dicom_results: DicomResults, sources: dict[str, SourceInstance]) -> StudyValuesForDicom:
    (found,) = select_values(dicom_results.report, sources).values()
    return found


def test_each_clip_is_a_page_with_its_tile(dicom_results: DicomResults, study: StudyValuesForDicom) -> None:
    pages = compose_pages(dicom_results.out, dicom_results.report, study)
    assert len(pages) == 1 + len(dicom_results.report.clips)
    assert {page.shape for page in pages} == {(700, 1000, 3)}
    for clip, page in zip(dicom_results.report.clips, pages[1:], strict=True):
        tile = np.asarray(Image.open(dicom_results.out / "clips" / f"{clip.clip_id}.png").convert("RGB"))
        np.testing.assert_array_equal(page[HEAD : HEAD + IMAGE], tile)
    written = dcmread(dicom_results.pictures).pixel_array
    np.testing.assert_array_equal(written, np.stack(pages))


def test_many_values_take_several_pages(dicom_results: DicomResults, study: StudyValuesForDicom) -> None:
    many = StudyValuesForDicom(study.values * 3, study.sources, 0)
    pages = compose_pages(dicom_results.out, dicom_results.report, many)
    assert len(pages) > 1 + len(dicom_results.report.clips)
    assert all((page != page[0, 0]).any() for page in pages)


def test_the_frames_shown_are_named(dicom_results: DicomResults, sources: dict[str, SourceInstance]) -> None:
    shown = shown_frames(dicom_results.out, dicom_results.report, sources)
    frames = {reference.source.sop_instance_uid: reference.frames for reference in shown}
    for clip in dicom_results.report.clips:
        assert clip.ed_frames and clip.es_frames
        expected = tuple(sorted({clip.ed_frames[0], clip.es_frames[0]}))
        assert frames[sources[clip.clip_id].sop_instance_uid] == expected
    images = dcmread(dicom_results.pictures).SourceImageSequence
    written = {image.ReferencedSOPInstanceUID: tuple(image.ReferencedFrameNumber) for image in images}
    assert written == {uid: tuple(frame + 1 for frame in found) for uid, found in frames.items()}


def test_a_study_without_pictures_has_no_page(dicom_results: DicomResults, study: StudyValuesForDicom) -> None:
    empty = dicom_results.out / "masks"  # a folder that holds no tile
    assert compose_pages(empty, dicom_results.report, study) == []
    assert shown_frames(empty, dicom_results.report, study.sources) == []
