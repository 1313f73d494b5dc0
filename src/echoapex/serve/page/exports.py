"""A reviewed study as files: rejected values are left out, and edited ones say that a person has edited them.

What rests on an edited value was computed again, or is left out with the reason; all kinds of files say the same.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from io import BytesIO
from pathlib import Path

from pydicom import dcmread

from echoapex.domain.reported_study import ReportedStudy
from echoapex.infer.outputs.dicom_files import DICOM_FOLDER, DicomOutput, ReportTemplate
from echoapex.infer.outputs.files import MEASUREMENTS_FILE, results_text, write_measurements
from echoapex.infer.outputs.study_document import describe_study
from echoapex.infer.review.correction_files import corrected_clips
from echoapex.infer.review.decided_values import DecidedStudy
from echoapex.infer.study.stored import StoredAnalysis
from echoapex.io.clip_source import muted_pydicom
from echoapex.io.document import Block, Document, Heading, Text
from echoapex.io.fhir import write_fhir
from echoapex.io.html import html_text
from echoapex.io.pdf import pdf_bytes
from echoapex.io.temporary_files import TemporaryFolder
from echoapex.serve.ledger import ResultObject
from echoapex.serve.page.clip_inputs import ClipInputs
from echoapex.serve.page.corrections import ClipCorrections
from echoapex.serve.page.review_files import draw_corrected_clips
from echoapex.serve.page.reviews import Reviews
from echoapex.serve.page.schemas import SignOff, ValueState
from echoapex.serve.page.security import PageError
from echoapex.serve.page.study_list import StudyList
from echoapex.serve.page.value_list import Decision
from echoapex.vocabulary import Quantity


class ExportKind(StrEnum):
    """The kinds of files."""

    HTML = "html"
    PDF = "pdf"
    JSON = "json"
    CSV = "csv"
    SR = "sr"
    SR1500 = "sr1500"
    SEG = "seg"
    FHIR = "fhir"


@dataclass(frozen=True)
class ExportedFile:
    """A file for download; its name says nothing of the patient."""

    name: str
    media_type: str
    content: bytes


class Exports:
    """Makes the files.

    Args:
        studies: the list.
        reviews: what readers decided.
        corrections: of the clips.
        inputs: the files of the clips.
    """

    def __init__(
        self,
        studies: StudyList,
        reviews: Reviews,
        corrections: ClipCorrections,
        inputs: ClipInputs,
    ) -> None:
        self._studies = studies
        self._results = reviews.results
        self._reviews = reviews
        self._corrections = corrections
        self._inputs = inputs

    def export(self, study: str, kind: ExportKind) -> ExportedFile:
        """One kind of file of a study.

        Raises:
            PageError: the study is not analysed, or there is nothing of this kind.
        """
        makers: dict[ExportKind, Callable[[str], ExportedFile]] = {
            ExportKind.HTML: self._html,
            ExportKind.PDF: self._pdf,
            ExportKind.JSON: self._json,
            ExportKind.CSV: self._csv,
            ExportKind.FHIR: self._fhir,
        }
        return makers[kind](study) if kind in makers else self._dicom(study, kind)

    def final(self, study: str) -> StoredAnalysis:
        """The results as readers left them."""
        return self._reviews.decided(study).stored

    @contextmanager
    def objects(self, study: str, kinds: Sequence[ExportKind]) -> Iterator[list[ResultObject]]:
        """The DICOM objects of a study, as long as the context lasts.

        Raises:
            PageError: there is none.
        """
        with self._folder(study) as out:
            yield [_result_of(path) for path in self._write_dicom(study, out, kinds)]

    def _json(self, study: str) -> ExportedFile:
        return ExportedFile("results.json", "application/json", results_text(self.final(study).report).encode())

    def _csv(self, study: str) -> ExportedFile:
        with self._folder(study) as out:
            content = write_measurements(out, self.final(study).report).read_bytes()
        return ExportedFile(MEASUREMENTS_FILE, "text/csv", content)

    def _html(self, study: str) -> ExportedFile:
        return ExportedFile("report.html", "text/html", html_text(self._document(study)).encode())

    def _pdf(self, study: str) -> ExportedFile:
        return ExportedFile("report.pdf", "application/pdf", pdf_bytes(self._document(study)))

    def _fhir(self, study: str) -> ExportedFile:
        html = html_text(self._document(study)).encode()
        with self._folder(study) as out:
            content = write_fhir(out / "fhir.json", self._reported(study), html).read_bytes()
        return ExportedFile("fhir.json", "application/fhir+json", content)

    def _reported(self, study: str) -> ReportedStudy:
        return self._reviews.decided(study).reported

    def _document(self, study: str) -> Document:
        with self._folder(study) as out:
            document = describe_study(self._reported(study), out)
        decisions, note = self._reviews.decisions(study), self._studies.note(study)
        sealed = self._studies.places(study).sealed
        signed = SignOff.model_validate_json(sealed) if sealed else None
        review = tuple(_describe_review(decisions, self._reviews.decided(study), note, signed))
        if not review:
            return document
        subtitle = "Reviewed by a reader, not signed off. It names no patient."
        if signed is not None:
            subtitle = f"Signed off by {signed.by}, {signed.when}: {signed.statement}"
        return replace(document, subtitle=subtitle, body=(*review, *document.body))

    def _dicom(self, study: str, kind: ExportKind) -> ExportedFile:
        with self._folder(study) as out:
            files = {path.name: path.read_bytes() for path in self._write_dicom(study, out, (kind,))}
        if len(files) == 1:
            ((name, content),) = files.items()
            return ExportedFile(name, "application/dicom", content)
        archive = BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in files.items():
                packed.writestr(name, content)
        return ExportedFile(f"{kind.value}.zip", "application/zip", archive.getvalue())

    def _write_dicom(self, study: str, out: Path, kinds: Sequence[ExportKind]) -> list[Path]:
        templates = {ExportKind.SR: ReportTemplate.SIMPLIFIED_ECHO, ExportKind.SR1500: ReportTemplate.MEASUREMENTS}
        wanted = tuple(template for kind, template in templates.items() if kind in kinds)
        dicom = DicomOutput(bool(wanted), ExportKind.SEG in kinds, templates=wanted or tuple(templates.values()))
        final = self.final(study)
        for clip in final.report.clips:
            if not clip.set_aside:
                with self._inputs.opened(study, clip.clip_id) as source:
                    dicom.remember(source)
        (out / DICOM_FOLDER).mkdir(exist_ok=True)
        files, notes = dicom.write(out, final.report, final.manifest.bundle)
        if not files:
            reasons = "; ".join((*dicom.notes(final.report), *notes)) or "it has no value that a code tells"
            raise PageError(f"the study gives no such DICOM object: {reasons}", 409)
        return [out / name for name in files]

    @contextmanager
    def _folder(self, study: str) -> Iterator[Path]:
        """A folder with the pictures and masks of a study, deleted afterwards."""
        self._results.state(study)  # refuses a study that is not analysed
        source = self._results.current_folder(study)
        clips = corrected_clips(self._corrections.folder(study))
        if clips:
            with self._reviews.locked(study):
                corrected = {clip: self._corrections.analysis(study, clip) for clip in clips}
                draw_corrected_clips(source, corrected, (study, self._inputs))
        place = TemporaryFolder()
        try:
            for room in ("clips", "masks"):
                if (source / room).is_dir():
                    (place.folder / room).symlink_to((source / room).absolute(), target_is_directory=True)
            yield place.folder
        finally:
            for room in ("clips", "masks"):
                (place.folder / room).unlink(missing_ok=True)
            shutil.rmtree(place.folder, ignore_errors=True)
            place.delete()


def _describe_review(
    decisions: Mapping[str, Decision], decided: DecidedStudy, note: str, signed: SignOff | None
) -> Iterator[Block]:
    """What readers said, for the report."""
    if not decisions and not note and signed is None:
        return
    yield Heading("Review", 1)
    if signed is not None:
        yield Text(f"{signed.by}, {signed.when}: {signed.statement}", term="Signed off")
    if note:
        yield Text(note, term="Note")
    for state in (ValueState.EDITED, ValueState.REJECTED, ValueState.APPROVED):
        named = [_named(name, one) for name, one in sorted(decisions.items()) if one.state is state]
        if named:
            yield Text("; ".join(named), term=f"{state.value.capitalize()} values")
    again = [f"{_title(name)} (from {', '.join(map(_title, roots))})" for name, roots in decided.follows.items()]
    if again:
        yield Text("; ".join(again), term="Computed again")
    if decided.left_out:
        told = [f"{_title(name)}: {why}" for name, why in decided.left_out.items()]
        yield Text("; ".join(told), term="Left out")


def _named(name: str, decision: Decision) -> str:
    return _title(name) + (f" ({decision.reason})" if decision.reason else "")


def _title(name: str) -> str:
    quantity, _, clip = name.partition("@")
    return Quantity(quantity).display_name + (f" of {clip}" if clip else "")


def _result_of(path: Path) -> ResultObject:
    with muted_pydicom():
        dataset = dcmread(path, stop_before_pixels=True)
    keywords = ("SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID")
    sop_uid, sop_class, series_uid, study_uid = (str(dataset[keyword].value) for keyword in keywords)
    return ResultObject(sop_uid, sop_class, series_uid, study_uid, path)
