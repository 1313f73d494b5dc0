"""``dicom/`` in the output: structured reports and segmentations of the DICOM clips, written only when asked for.

They hold the identifiers of patient and study, because an archive sorts objects by them. No other output holds them.

``study-N-echo-sr.dcm``
    Simplified Adult Echo SR (TID 5300).
``study-N-measurements-sr.dcm``
    Comprehensive 3D SR (TID 1500).
``CLIP-seg.dcm``
    the label maps of ``masks/CLIP.npz``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
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


class DicomOutputError(ValueError):
    """DICOM output that is impossible here; the message says what to do."""


@dataclass
class DicomOutput:
    """What DICOM output was asked for, and the identifiers of the clips that it needs.

    Attributes:
        reports: write structured reports.
        segmentations: write segmentation objects.

    Raises:
        DicomOutputError: highdicom is not installed.
    """

    reports: bool = False
    segmentations: bool = False
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
        asked = " and ".join(name for name, wanted in (("SR", self.reports), ("SEG", self.segmentations)) if wanted)
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
            for name, write in self._objects(out, number, study, software):
                try:
                    write(out / name)
                except _FAILURES as error:  # its message may quote the file
                    notes.append(f"{name}: not written, a value of its source is not allowed ({type(error).__name__})")
                else:
                    files.append(name)
            if self.reports and study.left_out:
                notes.append(f"DICOM SR: {study.left_out} values left out, their evidence is not all in one study")
        return files, tuple(notes)

    def _objects(
        self, out: Path, number: int, study: StudyValuesForDicom, software: Software
    ) -> Iterator[tuple[str, Callable[[Path], Path]]]:
        """The objects of one study: where each goes, and what writes it."""
        # highdicom is an extra, and slow to load
        from echoapex.io.segmentation_object import write_segmentation
        from echoapex.io.structured_report import write_echo_report, write_measurement_report

        series_uid = new_uid()
        if self.reports and study.values:
            for name, write in (("echo", write_echo_report), ("measurements", write_measurement_report)):
                place = f"{DICOM_FOLDER}/study-{number}-{name}-sr.dcm"
                yield place, partial(write, study=study, software=software, series_uid=series_uid)
        if not self.segmentations:
            return
        series_uid = new_uid()
        for instance, (clip_id, source) in enumerate(study.sources.items(), 1):
            masks = read_masks(out, clip_id)
            if any(labels.any() for labels in masks.values()):
                write_clip = partial(write_segmentation, masks=masks, source=source, software=software)
                yield f"{DICOM_FOLDER}/{clip_id}-seg.dcm", partial(write_clip, series_uid=series_uid, instance=instance)
