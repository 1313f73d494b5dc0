"""Label maps of one clip as a DICOM segmentation object (PS3.3 A.51): binary, one frame per structure and image frame.

Ultrasound has no frame of reference. So a segmentation frame names the number of its image frame (Derivation Image
macro, Referenced Frame Number) instead of a position in the patient, and has the same rows and columns. It states no
size of a pixel: that of the image holds. The Pixel Measures macro could state it, and the object would be valid, but
highdicom (0.28) could not open it without a slice thickness too, which a 2D image does not have. Bits are packed across
frames without padding (PS3.5 section 8.2). Only frames that show a structure are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from highdicom.color import CIELabColor
from jaxtyping import UInt8
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from echoapex.io.clip_source import muted_pydicom
from echoapex.io.dicom.derived_object import (
    MANUFACTURER,
    DerivedSeries,
    Software,
    new_uid,
    start_derived_image,
    write_object,
)
from echoapex.io.dicom.source_instance import SourceInstance
from echoapex.io.pictures import STRUCTURE_COLOURS
from echoapex.vocabulary import Structure
from echoapex.vocabulary.codes import ANATOMICAL_STRUCTURE, ARTIFICIAL_INTELLIGENCE, Code

SERIES_NUMBER = 9200
_DERIVATION = Code("113076", "DCM", "Segmentation")
_SOURCE_PURPOSE = Code("121322", "DCM", "Source image for image processing operation")

Masks = Mapping[int, UInt8[np.ndarray, "height width"]]


class UnfitMasksError(ValueError):
    """Label maps that cannot become a segmentation of this image; the message says why."""


@dataclass(frozen=True)
class _SegmentFrame:
    """One frame of the object: a structure on an image frame, and both their places in order."""

    structure: Structure
    frame: int
    segment_number: int
    time_index: int


def write_segmentation(
    path: Path, masks: Masks, source: SourceInstance, software: Software, series_uid: str, instance: int = 1
) -> Path:
    """Write :func:`build_segmentation`, whose arguments it takes."""
    with muted_pydicom():
        return write_object(path, build_segmentation(masks, source, software, series_uid, instance))


def build_segmentation(
    masks: Masks, source: SourceInstance, software: Software, series_uid: str, instance: int = 1
) -> Dataset:
    """The label maps of a clip as a segmentation object.

    Args:
        masks: label maps by native frame, counted from 0; values of ``Structure``.
        source: the image that the label maps belong to.
        software: what made them.
        series_uid: the series that the object joins.
        instance: its number in the series.

    Raises:
        UnfitMasksError: the label maps are empty, or not of the size of the image.
    """
    wrong = next((labels.shape for labels in masks.values() if labels.shape != source.size), None)
    if wrong is not None:
        raise UnfitMasksError(
            f"label maps of {wrong[1]} x {wrong[0]} do not fit an image of {source.size[::-1]} pixels"
        )
    if masks and max(masks) >= source.frames:
        raise UnfitMasksError(f"label maps up to frame {max(masks) + 1} of an image with {source.frames} frames")
    frames = _ordered(masks)
    if not frames:
        raise UnfitMasksError("the label maps show no structure")
    series = DerivedSeries(series_uid, SERIES_NUMBER, "EchoApex: structures, not verified", "SEG")
    dataset = start_derived_image(SegmentationStorage, ExplicitVRLittleEndian, source, software, series)
    _add_image(dataset, source, len(frames))
    dataset.InstanceNumber = instance
    dataset.SegmentSequence = [_segment(number, structure, software) for structure, number in _numbers(frames).items()]
    _add_dimensions(dataset)
    dataset.SharedFunctionalGroupsSequence = [Dataset()]
    dataset.PerFrameFunctionalGroupsSequence = [_functional_groups(item, source) for item in frames]
    dataset.ReferencedSeriesSequence = [_referenced_series(source)]
    pixels = _packed(masks[item.frame] == int(item.structure) for item in frames)
    dataset.add_new(Tag("PixelData"), "OB", pixels)
    return dataset


def _ordered(masks: Masks) -> list[_SegmentFrame]:
    """The frames of the object, by structure, then by time."""
    shown = {frame: set(np.unique(masks[frame]).tolist()) for frame in sorted(masks)}
    structures = [item for item in Structure if any(int(item) in labels for labels in shown.values())]
    times = {frame: place for place, frame in enumerate(shown, 1)}
    return [
        _SegmentFrame(structure, frame, number, times[frame])
        for number, structure in enumerate(structures, 1)
        for frame, labels in shown.items()
        if int(structure) in labels
    ]


def _numbers(frames: list[_SegmentFrame]) -> dict[Structure, int]:
    return {item.structure: item.segment_number for item in frames}


def _add_image(dataset: Dataset, source: SourceInstance, frames: int) -> None:
    """Image Pixel, Segmentation Image and Multi-frame modules."""
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.PatientOrientation = ""
    dataset.ContentLabel = "STRUCTURES"
    dataset.ContentDescription = "Cardiac structures by EchoApex; research, not verified"
    dataset.ContentCreatorName = ""
    dataset.SegmentationType = "BINARY"
    dataset.SegmentsOverlap = "NO"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = source.size
    dataset.NumberOfFrames = frames
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = dataset.PixelRepresentation = 0


def _segment(number: int, structure: Structure, software: Software) -> Dataset:
    segment = Dataset()
    segment.SegmentNumber = number
    segment.SegmentLabel = structure.display_name
    segment.SegmentDescription = structure.key
    segment.SegmentAlgorithmType = "AUTOMATIC"
    segment.SegmentAlgorithmName = "EchoApex"
    segment.SegmentedPropertyCategoryCodeSequence = [_coded(ANATOMICAL_STRUCTURE)]
    segment.SegmentedPropertyTypeCodeSequence = [_coded(structure.code)]
    segment.RecommendedDisplayCIELabValue = list(CIELabColor.from_rgb(*STRUCTURE_COLOURS[structure]).value)
    algorithm = Dataset()
    algorithm.AlgorithmFamilyCodeSequence = [_coded(ARTIFICIAL_INTELLIGENCE)]
    algorithm.AlgorithmName = "EchoApex"
    algorithm.AlgorithmVersion = software.version
    algorithm.AlgorithmParameters = "; ".join(software.parameters)
    algorithm.AlgorithmSource = MANUFACTURER
    segment.SegmentationAlgorithmIdentificationSequence = [algorithm]
    return segment


def _add_dimensions(dataset: Dataset) -> None:
    """Frames are ordered by structure, then by time."""
    organization = Dataset()
    organization.DimensionOrganizationUID = new_uid()
    dataset.DimensionOrganizationSequence = [organization]
    indices = (
        ("ReferencedSegmentNumber", "SegmentIdentificationSequence", "Segment Number"),
        ("TemporalPositionIndex", "FrameContentSequence", "Temporal Position Index"),
    )
    dataset.DimensionIndexSequence = []
    for pointer, group, label in indices:
        item = Dataset()
        item.DimensionOrganizationUID = organization.DimensionOrganizationUID
        item.DimensionIndexPointer = Tag(pointer)
        item.FunctionalGroupPointer = Tag(group)
        item.DimensionDescriptionLabel = label
        dataset.DimensionIndexSequence.append(item)


def _functional_groups(item: _SegmentFrame, source: SourceInstance) -> Dataset:
    """What belongs to one frame: which structure it shows, and on which image frame."""
    image = Dataset()
    image.ReferencedSOPClassUID = source.sop_class_uid
    image.ReferencedSOPInstanceUID = source.sop_instance_uid
    if source.is_multi_frame:
        image.ReferencedFrameNumber = item.frame + 1
    image.SpatialLocationsPreserved = "YES"
    image.PurposeOfReferenceCodeSequence = [_coded(_SOURCE_PURPOSE)]
    derivation = Dataset()
    derivation.DerivationCodeSequence = [_coded(_DERIVATION)]
    derivation.SourceImageSequence = [image]
    content = Dataset()
    content.DimensionIndexValues = [item.segment_number, item.time_index]
    content.TemporalPositionIndex = item.time_index
    identification = Dataset()
    identification.ReferencedSegmentNumber = item.segment_number
    groups = Dataset()
    groups.DerivationImageSequence = [derivation]
    groups.FrameContentSequence = [content]
    groups.SegmentIdentificationSequence = [identification]
    return groups


def _referenced_series(source: SourceInstance) -> Dataset:
    instance = Dataset()
    instance.ReferencedSOPClassUID = source.sop_class_uid
    instance.ReferencedSOPInstanceUID = source.sop_instance_uid
    series = Dataset()
    series.SeriesInstanceUID = source.elements["SeriesInstanceUID"]
    series.ReferencedInstanceSequence = [instance]
    return series


def _packed(frames: Iterator[np.ndarray]) -> bytes:
    """One bit per pixel, the first pixel in the lowest bit, frames without a gap; padded to an even length."""
    packed = bytearray()
    rest = np.zeros(0, bool)
    for frame in frames:
        bits = np.concatenate([rest, frame.ravel()])
        whole = len(bits) // 8 * 8
        packed += np.packbits(bits[:whole], bitorder="little").tobytes()
        rest = bits[whole:]
    packed += np.packbits(rest, bitorder="little").tobytes()
    return bytes(packed) + b"\0" * (len(packed) % 2)


def _coded(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item
