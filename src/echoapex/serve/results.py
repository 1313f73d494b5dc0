"""From a study to the DICOM objects that are sent: the same analysis of the same instances makes the same UIDs."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from echoapex.domain import StudyReport
from echoapex.infer.clip.models import TaskInterpreter
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.outputs.dicom_files import DICOM_FOLDER, DicomOutput, ReportTemplate
from echoapex.infer.outputs.report_files import ReportOutput
from echoapex.infer.study.analyze import AnalysisError, NamedInterpreter, SilentObserver, StudyAnalyzer
from echoapex.io.clip_source import muted_pydicom
from echoapex.io.dicom.writer import derive_uid
from echoapex.models.precision import choose_device, choose_precision
from echoapex.models.registry import find_set
from echoapex.models.simulated_weights import SIMULATED_NOTE, advise_patients
from echoapex.serve.ledger import ResultObject
from echoapex.serve.node_config import AnalysisSettings
from echoapex.serve.studies import OutOfRoomError, StudyInput, write_safely
from echoapex.version import __version__

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Observer(SilentObserver):
    """Is asked before each clip whether to go on."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check

    def begun(self, name: str) -> None:
        """Ask."""
        self._check()


class ResultMaker:
    """Analyses studies with one set of weights, and makes the objects to send.

    Args:
        settings: which weights, and what to make.
        folder: of the node's data.

    Raises:
        BundleError: there is no such set, or it is damaged.
        DeviceError: there is no such device here.
        DicomOutputError: highdicom is not installed.
        ReportOutputError: reportlab is not installed, and the settings want a PDF.
    """

    def __init__(self, settings: AnalysisSettings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._outputs()
        device = choose_device(settings.device)
        precision = choose_precision(settings.precision, device).name
        interpreter = TaskInterpreter.load(settings.bundle, settings.device, precision)
        note = SIMULATED_NOTE if advise_patients(find_set(settings.bundle)) else ""
        self._models = NamedInterpreter(interpreter, find_set(settings.bundle).name, str(device), precision, note)

    def make(
        self, study_uid: str, study: StudyInput, check: Callable[[], None]
    ) -> tuple[list[ResultObject], StudyReport]:
        """Analyse a study; what an interrupted analysis finished is taken over.

        Args:
            study_uid: the study.
            study: its instances.
            check: is called before each clip; what it raises ends the analysis.

        Returns:
            The objects, and the report.

        Raises:
            OutOfRoomError: the disk is full.
            AnalysisError: the analysis cannot be done.
        """
        place = self._folder / "work" / study.key
        out = place / study.digest[:16]
        for other in place.glob("*") if place.is_dir() else ():
            if not other.name.startswith(out.name):  # of instances that have been joined by others
                shutil.rmtree(other, ignore_errors=True)
        options = AnalysisOptions(contours=self._settings.contours, overlays=False, precision=self._settings.precision)
        dicom, reports = self._outputs()
        analyzer = StudyAnalyzer(self._models, options, _Observer(check))
        try:
            report = analyzer.run(list(study.files), out, None, dicom, reports)
            if reports is not None:
                dicom.write_document(out, report, self._models.bundle)
            results = [self._keep(path, study_uid, study) for path in sorted((out / DICOM_FOLDER).glob("*.dcm"))]
        except (AnalysisError, OSError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            if isinstance(cause, OSError) and cause.errno in _NO_ROOM:
                raise OutOfRoomError("there is no room left for an analysis") from error
            raise
        return results, report

    def _outputs(self) -> tuple[DicomOutput, ReportOutput | None]:
        """What writes the objects, and the report that becomes one of them."""
        wanted = self._settings.results
        templates = tuple(ReportTemplate(number) for number in self._settings.templates)
        dicom = DicomOutput("sr" in wanted, "seg" in wanted, "sc" in wanted, templates)
        return dicom, ReportOutput(report=True) if "pdf" in wanted else None

    def forget(self, study: StudyInput) -> None:
        """Delete what the analysis of a study left behind."""
        with suppress(OSError):
            shutil.rmtree(self._folder / "work" / study.key)

    def _keep(self, path: Path, study_uid: str, study: StudyInput) -> ResultObject:
        """Give an object its lasting UIDs, and keep it for sending."""
        with muted_pydicom():
            dataset = dcmread(path)
            weights = sorted(self._models.interpreter.digests.items())
            choices = self._settings.model_dump_json(include={"contours"}), self._models.precision
            made_from = (study_uid, study.digest, __version__, weights, choices)
            series_uid = derive_uid("series", *made_from, dataset.Modality)
            sop_uid = derive_uid("result", *made_from, _name_of(dataset))
            dataset.SeriesInstanceUID = series_uid
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = sop_uid
            content = BytesIO()
            dataset.save_as(content, enforce_file_format=True)
        place = self._folder / "results" / study.key / study.digest[:16] / f"{sop_uid}.dcm"
        write_safely(place, content.getvalue())
        return ResultObject(str(sop_uid), str(dataset.SOPClassUID), str(series_uid), study_uid, place)


def _name_of(dataset: Dataset) -> str:
    """What tells the objects of one analysis apart: class, template, and the image that it is about."""
    series: list[Any] = list(dataset.get("ReferencedSeriesSequence") or ())
    images = [one for item in series for one in item.get("ReferencedInstanceSequence") or ()]
    about = sorted(str(one.ReferencedSOPInstanceUID) for one in images)
    return " ".join((str(dataset.SOPClassUID), *about))
