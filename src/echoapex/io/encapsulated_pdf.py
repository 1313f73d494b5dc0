"""The report of a study as Encapsulated PDF, for archives and viewers that show documents (DICOM PS3.3 A.45.1, C.24).

The document itself names no patient; the DICOM object around it does, so that an archive can file it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from echoapex.io.clip_source import muted_pydicom
from echoapex.io.dicom.derived_object import DerivedSeries, Software, start_derived_image, write_object
from echoapex.io.dicom.source_instance import SourceInstance
from echoapex.vocabulary.codes import ECHOCARDIOGRAPHY_REPORT

ENCAPSULATED_PDF = UID("1.2.840.10008.5.1.4.1.1.104.1")
SERIES_NUMBER = 9400
_PDF_MARK = b"%PDF-"
_OF_IMAGES_ONLY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def write_encapsulated_pdf(
    path: Path, document: bytes, sources: Sequence[SourceInstance], software: Software, series_uid: str
) -> Path:
    """Write :func:`build_encapsulated_pdf`, whose arguments it takes."""
    with muted_pydicom():
        return write_object(path, build_encapsulated_pdf(document, sources, software, series_uid))


def build_encapsulated_pdf(
    document: bytes, sources: Sequence[SourceInstance], software: Software, series_uid: str
) -> Dataset:
    """A PDF about one study as a DICOM object.

    Args:
        document: the whole PDF.
        sources: the images that it is about; all of one study.
        software: what made it.
        series_uid: the series that the object joins.

    Raises:
        ValueError: the document is no PDF, or there is no source.
    """
    if not document.startswith(_PDF_MARK):
        raise ValueError("the document is no PDF")
    if not sources:
        raise ValueError("an encapsulated PDF needs an image that it is about")
    series = DerivedSeries(series_uid, SERIES_NUMBER, "EchoApex: report, not verified", "DOC")
    dataset = start_derived_image(ENCAPSULATED_PDF, ExplicitVRLittleEndian, sources[0], software, series)
    for keyword in _OF_IMAGES_ONLY:
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.InstanceNumber = 1
    dataset.ConversionType = "WSD"
    dataset.AcquisitionDateTime = ""
    dataset.BurnedInAnnotation = "YES"
    dataset.RecognizableVisualFeatures = "NO"
    dataset.DocumentTitle = "Echocardiography: values by EchoApex, not verified"
    title = Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = ECHOCARDIOGRAPHY_REPORT
    dataset.ConceptNameCodeSequence = [title]
    dataset.SourceInstanceSequence = [_reference(source) for source in sources]
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(document)
    dataset.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    return dataset


def _reference(source: SourceInstance) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.sop_class_uid, source.sop_instance_uid
    return item
