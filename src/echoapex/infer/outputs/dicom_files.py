"""``dicom/`` in the output: structured reports and segmentations of the DICOM clips, written only when asked for.

They hold the identifiers of patient and study, because an archive sorts objects by them. No other output holds them.

``study-N-echo-sr.dcm``
    Simplified Adult Echo SR (TID 5300).
``study-N-measurements-sr.dcm``
    Comprehensive 3D SR (TID 1500).
``study-N-procedure-sr.dcm``
    Comprehensive SR (TID 5200), for older receivers.
``study-N-pictures-sc.dcm``
    the study's values and the picture of each clip as a secondary capture.
``CLIP-seg.dcm``
    the label maps of ``masks/CLIP.npz``.
``study-1-report-pdf.dcm``
    ``report.pdf`` as Encapsulated PDF; the DICOM node asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

from echoapex.domain import StudyReport
from echoapex.infer.outputs.files import read_masks
from echoapex.io.clip_file import OpenedClip
from echoapex.io.clip_source import ReadError
from echoapex.io.dicom.derived_object import Software, new_uid
from echoapex.io.dicom.source_instance import SourceInstance, read_source_instance
from echoapex.io.report_values import StudyValuesForDicom, select_values

DICOM_FOLDER = "dicom"
_MISSING = "DICOM output needs highdicom: pip install 'echoapex[dicom]'"
_NO_DICOM = "is no DICOM"
_FAILURES = (ValueError, TypeError)
"""What highdicom and pydicom raise on a value that DICOM does not allow."""


class ReportTemplate(StrEnum):
    """A template of structured reports (PS3.16); the value is its number."""

    SIMPLIFIED_ECHO = "5300"
    MEASUREMENTS = "1500"
    ECHO_PROCEDURE = "5200"


USUAL_TEMPLATES = (ReportTemplate.SIMPLIFIED_ECHO, ReportTemplate.MEASUREMENTS)
"""For echo reporting systems, and for general viewers."""


class DicomOutputError(ValueError):
    """DICOM output that is impossible here; the message says what to do."""


@dataclass
class DicomOutput:
    """What DICOM output was asked for, and the identifiers of the clips that it needs.

    Attributes:
        reports: write structured reports.
        segmentations: write segmentation objects.
        pictures: write secondary captures.
        templates: of the structured reports.

    Raises:
        DicomOutputError: highdicom is not installed.
    """

    reports: bool = False
    segmentations: bool = False
    pictures: bool = False
    templates: tuple[ReportTemplate, ...] = USUAL_TEMPLATES
    _sources: dict[str, SourceInstance] = field(default_factory=dict, init=False)
    _reasons: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if find_spec("highdicom") is None:
            raise DicomOutputError(_MISSING)

    def remember(self, clip: OpenedClip) -> None:
        """Read the identifiers of a clip while its file is there."""
        clip_id = clip.header.clip_id
        if clip.dicom_path is None:
            self._reasons[clip_id] = _NO_DICOM
            return
        try:
            self._sources[clip_id] = read_source_instance(clip.dicom_path, clip_id)
        except ReadError as error:
            self._reasons[clip_id] = error.reason

    def notes(self, report: StudyReport) -> tuple[str, ...]:
        """One line about the clips without DICOM output; none where all have it."""
        analysed = [clip.clip_id for clip in report.clips if not clip.set_aside]
        without = [clip_id for clip_id in analysed if clip_id in self._reasons]
        wanted = (("SR", self.reports), ("SEG", self.segmentations), ("SC", self.pictures))
        asked = " and ".join(name for name, is_wanted in wanted if is_wanted)
        if without:
            why = "; ".join(dict.fromkeys(self._reasons[clip_id] for clip_id in without))
            share = f"{len(without)} of {len(analysed)} clips"
            return (f"no DICOM {asked} for {share}: it must refer to a DICOM image, and the file {why}",)
        return () if analysed else (f"no DICOM {asked}: no clip was analysed",)

    def write(self, out: Path, report: StudyReport, bundle: str) -> tuple[list[str], tuple[str, ...]]:
        """Write what was asked for; label maps are read from ``masks/``.

        Returns:
            The files, relative to ``out``, and one line about each thing that could not be written.
        """
        software = Software(report.echoapex_version, bundle, report.bundles, report.disclaimer)
        files: list[str] = []
        notes: list[str] = []
        for number, study in enumerate(select_values(report, self._sources).values(), 1):
            captures = self._captures(out, f"study-{number}", report, study) if self.pictures else ()
            objects = chain(self._objects(out, number, study), captures)
            for name, write in objects:
                try:
                    write(out / name, software=software)
                except _FAILURES as error:  # its message may quote the file
                    notes.append(f"{name}: not written, a value of its source is not allowed ({type(error).__name__})")
                else:
                    files.append(name)
            notes += self._left_out(study) if self.reports else ()
        return files, tuple(notes)

    def write_document(self, out: Path, report: StudyReport, bundle: str) -> list[str]:
        """Write ``report.pdf``, which lies in ``out``, as a DICOM object about all clips of the study.

        Returns:
            The file, relative to ``out``; none where there is no report, or no clip that is a DICOM image.
        """
        from echoapex.infer.outputs.report_files import REPORT_NAME
        from echoapex.io.encapsulated_pdf import write_encapsulated_pdf

        analysed = [clip.clip_id for clip in report.clips if not clip.set_aside]
        sources = [self._sources[clip_id] for clip_id in analysed if clip_id in self._sources]
        document = out / f"{REPORT_NAME}.pdf"
        if not sources or len({source.study_uid for source in sources}) > 1 or not document.is_file():
            return []
        software = Software(report.echoapex_version, bundle, report.bundles, report.disclaimer)
        name = f"{DICOM_FOLDER}/study-1-report-pdf.dcm"
        write_encapsulated_pdf(out / name, document.read_bytes(), sources, software, new_uid())
        return [name]

    def _left_out(self, study: StudyValuesForDicom) -> Iterator[str]:
        """One line about each kind of value that the reports lack."""
        from echoapex.io.procedure_report import values_without_code

        if study.left_out:
            yield f"DICOM SR: {study.left_out} values left out, their evidence is not all in one study"
        uncoded = len(values_without_code(study)) if ReportTemplate.ECHO_PROCEDURE in self.templates else 0
        if uncoded:
            yield f"DICOM SR by TID 5200: {uncoded} values left out, the standard has no code for them"

    def _captures(
        self, out: Path, name: str, report: StudyReport, study: StudyValuesForDicom
    ) -> Iterator[tuple[str, Callable[..., Path]]]:
        """The secondary capture of one study, where there is a picture."""
        from echoapex.infer.outputs.captured_pages import compose_pages, shown_frames
        from echoapex.io.secondary_capture import write_secondary_capture

        pages = compose_pages(out, report, study)
        if pages:
            frames = shown_frames(out, report, study.sources)
            write = partial(write_secondary_capture, pictures=pages, sources=frames, series_uid=new_uid())
            yield f"{DICOM_FOLDER}/{name}-pictures-sc.dcm", write

    def _objects(self, out: Path, number: int, study: StudyValuesForDicom) -> Iterator[tuple[str, Callable[..., Path]]]:
        """The objects of one study: where each goes, and what writes it."""
        # highdicom is an extra, and slow to load
        from echoapex.io.procedure_report import write_procedure_report
        from echoapex.io.segmentation_object import write_segmentation
        from echoapex.io.structured_report import write_echo_report, write_measurement_report

        writers = {
            ReportTemplate.SIMPLIFIED_ECHO: ("echo", write_echo_report),
            ReportTemplate.MEASUREMENTS: ("measurements", write_measurement_report),
            ReportTemplate.ECHO_PROCEDURE: ("procedure", write_procedure_report),
        }
        series_uid = new_uid()
        for template in dict.fromkeys(self.templates) if self.reports and study.values else ():
            name, write = writers[template]
            place = f"{DICOM_FOLDER}/study-{number}-{name}-sr.dcm"
            yield place, partial(write, study=study, series_uid=series_uid)
        if not self.segmentations:
            return
        series_uid = new_uid()
        for instance, (clip_id, source) in enumerate(study.sources.items(), 1):
            masks = read_masks(out, clip_id)
            if any(labels.any() for labels in masks.values()):
                write_clip = partial(write_segmentation, masks=masks, source=source)
                yield f"{DICOM_FOLDER}/{clip_id}-seg.dcm", partial(write_clip, series_uid=series_uid, instance=instance)
