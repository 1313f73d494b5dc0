"""The identifiers of a DICOM image as plain text: what a report or a segmentation about the image needs.

They identify the patient. They are read only when DICOM output was asked for, and are written to DICOM objects only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from echoapex.domain.clip import Size
from echoapex.io.clip_source import ReadError, clean_errors, muted_pydicom
from echoapex.io.dicom.header import integer_of, text_of, texts_of

_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
_ALWAYS = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
"""Elements of type 2: written empty where the image has none."""
_WHERE_KNOWN = (
    *("IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight", "StudyDescription"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "LossyImageCompression"),
    *("LossyImageCompressionRatio", "LossyImageCompressionMethod", "Manufacturer", "ManufacturerModelName"),
)
_SEVERAL = ("DeidentificationMethod", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
"""Elements that may have several values; of any other, only the first is valid."""
_SEXES = ("M", "F", "O")
_READ = (*_NEEDED, *_ALWAYS, *_WHERE_KNOWN, "SpecificCharacterSet", "Rows", "Columns", "NumberOfFrames", "Modality")


@dataclass(frozen=True)
class SourceInstance:
    """One DICOM image.

    Attributes:
        elements: patient, study and image as text, by keyword; empty text where the file has no value.
        size: height and width of a frame in pixels.
        frames: number of frames; those of a single-frame image are not referenced by number.
    """

    elements: dict[str, str]
    size: Size
    frames: int

    @property
    def is_multi_frame(self) -> bool:
        """Whether a reference to a frame needs its number."""
        return self.frames > 1

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID."""
        return self.elements["StudyInstanceUID"]

    @property
    def sop_class_uid(self) -> str:
        """SOPClassUID."""
        return self.elements["SOPClassUID"]

    @property
    def sop_instance_uid(self) -> str:
        """SOPInstanceUID."""
        return self.elements["SOPInstanceUID"]

    def frame_numbers(self, frames: tuple[int, ...]) -> list[int] | None:
        """Native frames, counted from 0, as DICOM frame numbers, counted from 1; None where there is one frame only."""
        return [frame + 1 for frame in frames] if self.is_multi_frame and frames else None


def read_source_instance(path: Path, display_name: str) -> SourceInstance:
    """The identifiers of a DICOM image.

    Raises:
        ReadError: the file cannot be read, or it lacks a UID by which others could refer to it.
    """
    tags = [tag for tag in map(tag_for_keyword, _READ) if tag is not None]
    with clean_errors(display_name, "its header cannot be read"), muted_pydicom():
        dataset = dcmread(path, stop_before_pixels=True, force=True, specific_tags=[*tags])
        elements = {keyword: _text(dataset, keyword) for keyword in (*_NEEDED, *_ALWAYS)}
        known = {keyword: _text(dataset, keyword) for keyword in _WHERE_KNOWN}
    missing = [keyword for keyword in _NEEDED if not elements[keyword]]
    if missing:
        reason = f"has no {' and no '.join(missing)}, so that no DICOM object can refer to it"
        raise ReadError(display_name, reason, "export the clip again from its archive")
    frames = integer_of(dataset, "NumberOfFrames")
    size = (integer_of(dataset, "Rows") or 0, integer_of(dataset, "Columns") or 0)
    filled = {keyword: value for keyword, value in known.items() if value}
    elements = {**elements, **filled, "Modality": text_of(dataset, "Modality")}
    return SourceInstance(elements, size, max(1, frames or 1))


def _text(dataset: Dataset, keyword: str) -> str:
    """A value as text, with a backslash between several values where DICOM allows several."""
    return "\\".join(texts_of(dataset, keyword)) if keyword in _SEVERAL else text_of(dataset, keyword)


def identity_dataset(source: SourceInstance) -> Dataset:
    """The data set of an image without its pixels: what objects derived from it take over. All text is UTF-8."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in source.elements.items():
        setattr(dataset, keyword, value)
    if dataset.PatientSex not in _SEXES:
        dataset.PatientSex = ""
    dataset.Rows, dataset.Columns = source.size
    if source.is_multi_frame:
        dataset.NumberOfFrames = source.frames
    return dataset
