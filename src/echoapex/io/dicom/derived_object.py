"""What every DICOM object that EchoApex derives from images has: who made it, a UID of its own, and a file."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from echoapex.io.dicom.source_instance import SourceInstance, identity_dataset
from echoapex.io.dicom.writer import derive_uid
from echoapex.io.temporary_files import replace_when_complete

MANUFACTURER = "EchoApex"
_PATIENT_AND_STUDY = (
    *("SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)


@dataclass(frozen=True)
class Software:
    """What made the values: recorded as observer, as equipment and as algorithm.

    Attributes:
        version: of EchoApex.
        bundle: name of the set of weights.
        digests: sha256 of the weights, by name.
        disclaimer: what the software is not.
    """

    version: str
    bundle: str
    digests: Mapping[str, str]
    disclaimer: str

    @property
    def weights_digest(self) -> str:
        """One sha256 for all weights together."""
        text = "\n".join(f"{name} {digest}" for name, digest in sorted(self.digests.items()))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def device_uid(self) -> UID:
        """The UID of the observer: the same software with the same weights has the same."""
        return derive_uid("device", self.version, self.weights_digest)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The set and each of its weights, as text."""
        weights = (f"{name} sha256 {digest}" for name, digest in sorted(self.digests.items()))
        return (f"set of weights {self.bundle}", *weights)


@dataclass(frozen=True)
class DerivedSeries:
    """The series that derived images join.

    Attributes:
        uid: SeriesInstanceUID.
        number: SeriesNumber.
        description: what people see in a list of series.
        modality: what kind of images it holds.
    """

    uid: str
    number: int
    description: str
    modality: str


def start_derived_image(
    sop_class: UID, transfer_syntax: UID, source: SourceInstance, software: Software, series: DerivedSeries
) -> Dataset:
    """A new image about a source: its patient, study, series and equipment, and its file meta information."""
    dataset = Dataset()
    identity = identity_dataset(source)
    for keyword in _PATIENT_AND_STUDY:
        if keyword in identity:
            dataset[keyword] = identity[keyword]
    now = datetime.now()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = new_uid()
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    dataset.ContentDate, dataset.ContentTime = dataset.InstanceCreationDate, dataset.InstanceCreationTime
    dataset.Modality = series.modality
    dataset.SeriesInstanceUID = UID(series.uid)
    dataset.SeriesNumber = series.number
    dataset.SeriesDescription = series.description
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = f"EchoApex, {software.bundle}"[:64]
    dataset.DeviceSerialNumber = software.weights_digest
    dataset.SoftwareVersions = software.version
    dataset.LossyImageCompression = dataset.get("LossyImageCompression") or "00"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset.file_meta.ImplementationClassUID = derive_uid("implementation")
    dataset.file_meta.ImplementationVersionName = "ECHOAPEX"
    return dataset


def new_uid() -> UID:
    """A UID that no object has (PS3.5 B.2): each report is an instance of its own."""
    return UID(f"2.25.{uuid.uuid4().int}")


def write_object(path: Path, dataset: Dataset) -> Path:
    """Write a DICOM object, completely or not at all."""
    with replace_when_complete(path) as partial:
        dataset.save_as(partial, enforce_file_format=True)
    return path
