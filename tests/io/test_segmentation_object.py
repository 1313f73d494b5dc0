"""The segmentation object of a clip: valid, and pixel for pixel the label maps that it was made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from dicom_results import DicomResults, dicom_errors
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import unpack_bits

from echoapex.domain import Clip, ClipHeader, Spacing
from echoapex.infer.outputs.files import read_masks
from echoapex.io.dicom.derived_object import Software, write_object
from echoapex.io.dicom.source_instance import SourceInstance, read_source_instance
from echoapex.io.dicom.writer import FictitiousStudy, write_ultrasound
from echoapex.io.segmentation_object import UnfitMasksError, build_segmentation, write_segmentation
from echoapex.vocabulary import Structure

SOFTWARE = Software("1.0", "set", {"encoder": "0" * 64}, "no medical device")


def label_maps(dataset: Dataset) -> dict[int, np.ndarray]:
    """Label maps by native frame, from the bits and the functional groups alone."""
    shape = (dataset.NumberOfFrames, dataset.Rows, dataset.Columns)
    bits = unpack_bits(dataset.PixelData)[: np.prod(shape)].reshape(shape)
    property_codes = {
        segment.SegmentNumber: segment.SegmentedPropertyTypeCodeSequence[0].CodeValue
        for segment in dataset.SegmentSequence
    }
    structures = {structure.code.value: int(structure) for structure in Structure}
    maps: dict[int, np.ndarray] = {}
    for mask, groups in zip(bits, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        image = groups.DerivationImageSequence[0].SourceImageSequence[0]
        frame = int(image.get("ReferencedFrameNumber", 1)) - 1
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        labels = maps.setdefault(frame, np.zeros(shape[1:], np.uint8))
        assert not labels[mask > 0].any(), "segments do not overlap"
        labels[mask > 0] = structures[property_codes[number]]
    return maps


def write_source(path: Path, frames: int, size: tuple[int, int]) -> SourceInstance:
    """A DICOM clip of a size that is no multiple of anything."""
    header = ClipHeader("clip", size, tuple(index * 0.02 for index in range(frames)), spacing=Spacing(0.5, 0.5))
    pixels = np.random.default_rng(0).integers(0, 255, (frames, *size), dtype=np.uint8)
    write_ultrasound(path, Clip(header, pixels), FictitiousStudy(7))
    return read_source_instance(path, "clip")


def random_masks(frames: tuple[int, ...], size: tuple[int, int]) -> dict[int, np.ndarray]:
    generator = np.random.default_rng(1)
    return {frame: generator.integers(0, 4, size, dtype=np.uint8) for frame in frames}


def test_every_segmentation_is_valid(dicom_results: DicomResults) -> None:
    assert len(dicom_results.segmentations) == 3
    for path in dicom_results.segmentations.values():
        assert dicom_errors(path) == []


def test_the_label_maps_come_back_pixel_for_pixel(dicom_results: DicomResults) -> None:
    for clip_id, path in dicom_results.segmentations.items():
        expected = {frame: labels for frame, labels in read_masks(dicom_results.out, clip_id).items() if labels.any()}
        found = label_maps(dcmread(path))
        assert set(found) == set(expected)
        for frame, labels in expected.items():
            np.testing.assert_array_equal(found[frame], labels)


def test_highdicom_reads_the_same_label_maps(dicom_results: DicomResults) -> None:
    for clip_id, path in dicom_results.segmentations.items():
        segmentation = hd.seg.segread(path)
        clip = next(item for item in dicom_results.report.clips if item.clip_id == clip_id)
        source = next(
            found
            for file in dicom_results.sources.glob("*.dcm")
            if (found := read_source_instance(file, file.name)).sop_instance_uid
            == segmentation.PerFrameFunctionalGroupsSequence[0]
            .DerivationImageSequence[0]
            .SourceImageSequence[0]
            .ReferencedSOPInstanceUID
        )
        masks = read_masks(dicom_results.out, clip_id)
        numbers = [frame + 1 for frame in masks]
        pixels = segmentation.get_pixels_by_source_frame(
            source.sop_instance_uid, numbers, assert_missing_frames_are_empty=True
        )
        assert clip.structures
        for number in segmentation.segment_numbers:
            key = segmentation.get_segment_description(number).SegmentDescription
            expected = np.stack([labels == int(Structure.from_key(key)) for labels in masks.values()])
            np.testing.assert_array_equal(pixels[..., list(segmentation.segment_numbers).index(number)] > 0, expected)


def test_a_segment_says_what_it_is_how_it_is_drawn_and_who_made_it(dicom_results: DicomResults) -> None:
    for path in dicom_results.segmentations.values():
        dataset = dcmread(path)
        colours = {tuple(segment.RecommendedDisplayCIELabValue) for segment in dataset.SegmentSequence}
        assert len(colours) == len(dataset.SegmentSequence) > 1
        for segment in dataset.SegmentSequence:
            structure = Structure.from_key(segment.SegmentDescription)
            kind = segment.SegmentedPropertyTypeCodeSequence[0]
            assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == tuple(structure.code)
            assert segment.SegmentAlgorithmType == "AUTOMATIC"
            algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
            for name, digest in dicom_results.report.bundles.items():
                assert f"{name} sha256 {digest}" in algorithm.AlgorithmParameters
        assert "FrameOfReferenceUID" not in dataset


def test_it_belongs_to_the_patient_and_study_of_its_source(dicom_results: DicomResults) -> None:
    source = dcmread(dicom_results.sources / "A4C.dcm")
    for path in dicom_results.segmentations.values():
        dataset = dcmread(path)
        for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "StudyDate"):
            assert dataset[keyword].value == source[keyword].value
        assert dataset.SeriesInstanceUID != source.SeriesInstanceUID


@pytest.mark.parametrize("size", [(13, 11), (8, 8), (37, 29)])
def test_bits_are_packed_across_frames_of_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    source = write_source(tmp_path / "clip.dcm", 6, size)
    masks = random_masks((1, 2, 5), size)
    path = write_segmentation(tmp_path / "seg.dcm", masks, source, SOFTWARE, "1.2.3")
    assert dicom_errors(path) == []
    found = label_maps(dcmread(path))
    assert set(found) == {1, 2, 5}
    for frame, labels in masks.items():
        np.testing.assert_array_equal(found[frame], labels)


def test_a_still_is_referenced_without_a_frame_number(tmp_path: Path) -> None:
    source = write_source(tmp_path / "still.dcm", 1, (13, 11))
    masks = random_masks((0,), (13, 11))
    path = write_segmentation(tmp_path / "seg.dcm", masks, source, SOFTWARE, "1.2.3")
    assert dicom_errors(path) == []
    dataset = dcmread(path)
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        assert "ReferencedFrameNumber" not in groups.DerivationImageSequence[0].SourceImageSequence[0]
    np.testing.assert_array_equal(label_maps(dataset)[0], masks[0])


def test_frames_and_structures_without_a_pixel_are_left_out(tmp_path: Path) -> None:
    source = write_source(tmp_path / "clip.dcm", 4, (13, 11))
    masks = {frame: np.zeros((13, 11), np.uint8) for frame in range(4)}
    masks[2][3:5, 4:6] = Structure.LEFT_ATRIUM
    dataset = build_segmentation(masks, source, SOFTWARE, "1.2.3")
    assert dataset.NumberOfFrames == 1
    assert [segment.SegmentDescription for segment in dataset.SegmentSequence] == ["left_atrium"]
    assert set(label_maps(dataset)) == {2}


@pytest.mark.parametrize(
    ("masks", "reason"),
    [
        ({}, "show no structure"),
        ({0: np.zeros((13, 11), np.uint8)}, "show no structure"),
        ({0: np.ones((11, 13), np.uint8)}, "do not fit"),
        ({9: np.ones((13, 11), np.uint8)}, "frame 10 of an image with 4 frames"),
    ],
)
def test_masks_that_do_not_fit_are_refused(tmp_path: Path, masks: dict[int, np.ndarray], reason: str) -> None:
    source = write_source(tmp_path / "clip.dcm", 4, (13, 11))
    with pytest.raises(UnfitMasksError, match=reason):
        build_segmentation(masks, source, SOFTWARE, "1.2.3")


def test_no_size_of_a_pixel_is_stated_because_highdicom_could_not_read_it(tmp_path: Path) -> None:
    """Pixel Measures without a slice thickness are valid without a frame of reference, yet highdicom refuses them."""
    source = write_source(tmp_path / "clip.dcm", 2, (13, 11))
    dataset = build_segmentation(random_masks((0,), (13, 11)), source, SOFTWARE, "1.2.3")
    (shared,) = dataset.SharedFunctionalGroupsSequence
    assert "PixelMeasuresSequence" not in shared
    measures = Dataset()
    measures.PixelSpacing = ["0.5", "0.5"]
    shared.PixelMeasuresSequence = [measures]
    dataset.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    assert dicom_errors(tmp_path / "seg.dcm") == []
    with pytest.raises(AttributeError, match="required attributes for a Pixel Measures Sequence"):
        hd.seg.segread(tmp_path / "seg.dcm")


def test_a_name_in_any_script_arrives(tmp_path: Path) -> None:
    source = write_source(tmp_path / "clip.dcm", 2, (13, 11))
    source = replace(source, elements={**source.elements, "PatientName": "Шмидт^Юрий"})
    path = write_segmentation(tmp_path / "seg.dcm", random_masks((0,), (13, 11)), source, SOFTWARE, "1.2.3")
    assert dcmread(path).PatientName == "Шмидт^Юрий"


def test_what_ohif_reads_of_a_segmentation(dicom_results: DicomResults) -> None:
    """OHIF finds the series by its reference, colours by CIELab, and frames by source image and frame number."""
    for path in dicom_results.segmentations.values():
        dataset = dcmread(path)
        assert dataset.SegmentationType == "BINARY"
        assert dataset.SegmentsOverlap == "NO"
        (series,) = dataset.ReferencedSeriesSequence
        (instance,) = series.ReferencedInstanceSequence
        source = next(
            found
            for file in dicom_results.sources.glob("*.dcm")
            if (found := dcmread(file, stop_before_pixels=True)).SOPInstanceUID == instance.ReferencedSOPInstanceUID
        )
        assert series.SeriesInstanceUID == source.SeriesInstanceUID
        assert (dataset.Rows, dataset.Columns) == (source.Rows, source.Columns)
        assert [segment.SegmentNumber for segment in dataset.SegmentSequence] == list(
            range(1, len(dataset.SegmentSequence) + 1)
        )
        assert all(len(segment.RecommendedDisplayCIELabValue) == 3 for segment in dataset.SegmentSequence)
        for groups in dataset.PerFrameFunctionalGroupsSequence:
            (derivation,) = groups.DerivationImageSequence
            (image,) = derivation.SourceImageSequence
            assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
            assert 1 <= image.ReferencedFrameNumber <= source.NumberOfFrames


def test_pixel_measures_would_be_valid_but_highdicom_could_not_open_the_object(tmp_path: Path) -> None:
    """Why the object states no size of a pixel. When this fails, highdicom needs no slice thickness any more."""
    source = write_source(tmp_path / "clip.dcm", 5, (37, 53))
    dataset = build_segmentation(random_masks((0, 2), (37, 53)), source, SOFTWARE, "1.2.3")
    measures = Dataset()
    measures.PixelSpacing = [0.5, 0.5]
    dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = [measures]
    path = write_object(tmp_path / "seg.dcm", dataset)
    assert dicom_errors(path) == []
    with pytest.raises(AttributeError, match="Pixel Measures"):
        hd.seg.segread(path)
    measures.SliceThickness = 1.0
    assert hd.seg.segread(write_object(tmp_path / "thick.dcm", dataset)).number_of_segments == 3
