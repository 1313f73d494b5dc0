"""Pictures with burned-in outlines and values as DICOM, for viewers that show neither reports nor segmentations.

Multi-frame True Color Secondary Capture (PS3.3 A.8.5), RLE lossless. It says that its pixels are derived, that text is
burned in, and which images and frames they came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.tag import Tag
from pydicom.uid import UID, RLELossless

from echoapex.io.clip_source import muted_pydicom
from echoapex.io.dicom.derived_object import DerivedSeries, Software, start_derived_image, write_object
from echoapex.io.pictures import Pixels
from echoapex.io.report_values import FrameReference
from echoapex.vocabulary.codes import Code

TRUE_COLOUR_SECONDARY_CAPTURE = UID("1.2.840.10008.5.1.4.1.1.7.4")
SERIES_NUMBER = 9300
_DERIVATION = Code("113076", "DCM", "Segmentation")
_SOURCE_PURPOSE = Code("121322", "DCM", "Source image for image processing operation")
_DESCRIPTION = (
    "Outlines and values by EchoApex burned into frames of the source images; pixels outside the ultrasound are black"
)


def write_secondary_capture(
    path: Path,
    pictures: Sequence[Pixels],
    sources: Sequence[FrameReference],
    software: Software,
    series_uid: str,
) -> Path:
    """Write :func:`build_secondary_capture`, whose arguments it takes."""
    with muted_pydicom():
        return write_object(path, build_secondary_capture(pictures, sources, software, series_uid))


def build_secondary_capture(
    pictures: Sequence[Pixels], sources: Sequence[FrameReference], software: Software, series_uid: str
) -> Dataset:
    """Pictures of one study as one secondary capture.

    Args:
        pictures: RGB, all of one size; each becomes a frame.
        sources: the images and the native frames that the pictures show; all of one study.
        software: what made them.
        series_uid: the series that the object joins.

    Raises:
        ValueError: there is no picture or no source, or the pictures differ in size.
    """
    if not pictures or not sources:
        raise ValueError("a secondary capture needs a picture and a source image")
    if len({picture.shape for picture in pictures}) > 1:
        raise ValueError("the pictures of one secondary capture must have one size")
    lossy = [
        reference.source for reference in sources if reference.source.elements.get("LossyImageCompression") == "01"
    ]
    about = (*lossy, sources[0].source)[0]  # what lossy compression did to one image stays true for all
    series = DerivedSeries(series_uid, SERIES_NUMBER, "EchoApex: pictures, not verified", "OT")
    dataset = start_derived_image(TRUE_COLOUR_SECONDARY_CAPTURE, RLELossless, about, software, series)
    dataset.InstanceNumber = 1
    dataset.BodyPartExamined = "HEART"
    dataset.ConversionType = "WSD"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.PatientOrientation = ""
    dataset.BurnedInAnnotation = "YES"
    dataset.RecognizableVisualFeatures = "NO"
    dataset.ImageComments = software.disclaimer
    dataset.DerivationDescription = _DESCRIPTION
    dataset.DerivationCodeSequence = [_coded(_DERIVATION)]
    dataset.SourceImageSequence = [_source_image(reference) for reference in sources]
    _add_pixels(dataset, pictures)
    return dataset


def _source_image(reference: FrameReference) -> Dataset:
    image = Dataset()
    image.ReferencedSOPClassUID = reference.source.sop_class_uid
    image.ReferencedSOPInstanceUID = reference.source.sop_instance_uid
    numbers = reference.source.frame_numbers(reference.frames)
    if numbers:
        image.ReferencedFrameNumber = numbers
    image.PurposeOfReferenceCodeSequence = [_coded(_SOURCE_PURPOSE)]
    return image


def _add_pixels(dataset: Dataset, pictures: Sequence[Pixels]) -> None:
    """Image Pixel and Multi-frame modules; the frames are pages, they have no time."""
    dataset.Rows, dataset.Columns = pictures[0].shape[:2]
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.NumberOfFrames = len(pictures)
    if len(pictures) > 1:
        dataset.FrameIncrementPointer = Tag("PageNumberVector")
        dataset.PageNumberVector = list(range(1, len(pictures) + 1))
    layout = {
        "rows": dataset.Rows,
        "columns": dataset.Columns,
        "number_of_frames": 1,
        "samples_per_pixel": 3,
        "photometric_interpretation": "RGB",
        "bits_allocated": 8,
        "bits_stored": 8,
        "pixel_representation": 0,
        "planar_configuration": 0,
    }
    encoder = get_encoder(RLELossless)
    frames = [
        encoder.encode(np.ascontiguousarray(picture), encoding_plugin="pylibjpeg", **layout) for picture in pictures
    ]
    dataset.add_new(Tag("PixelData"), "OB", encapsulate(frames))
    dataset["PixelData"].is_undefined_length = True


def _coded(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item
