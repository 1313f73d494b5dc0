"""Files for a hospital or a cohort, only on request: reports, FHIR bundles and tables. None names a patient.

``report.html`` and ``report.pdf``
    the report of the only study. With several studies ``report.html`` is an index, and the reports of the studies are
    ``reports/study-N.html`` and ``reports/study-N.pdf``.
``fhir/study-N.json``
    one FHIR R4 bundle per study.
``cohort.csv`` and ``cohort.parquet``
    one row for each value of each study.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from echoapex.domain import StudyReport
from echoapex.domain.reported_study import ReportedStudy, StudyGroup
from echoapex.infer.outputs.cohort_table import (
    CohortTableError,
    require_parquet,
    write_cohort_csv,
    write_cohort_parquet,
)
from echoapex.infer.outputs.reported_studies import ReportContext, collect_studies
from echoapex.infer.outputs.study_document import describe_index, describe_study
from echoapex.io.fhir import write_fhir
from echoapex.io.html import html_text, write_html
from echoapex.io.pdf import PdfError, require_pdf, write_pdf
from echoapex.io.temporary_files import write_bytes_atomically

CohortKind = Literal["none", "csv", "parquet", "both"]
REPORT_NAME, REPORT_FOLDER, FHIR_FOLDER = "report", "reports", "fhir"


class ReportOutputError(ValueError):
    """Reports that cannot be written here; the message says what to do."""


@dataclass(frozen=True)
class ReportOutput:
    """Which files were asked for.

    Attributes:
        report: write the report as HTML and PDF.
        fhir: write FHIR bundles.
        cohort: in which forms to write the table of all values.

    Raises:
        ReportOutputError: a library that is needed is not installed.
    """

    report: bool = False
    fhir: bool = False
    cohort: CohortKind = "none"

    def __post_init__(self) -> None:
        try:
            if self.report:
                require_pdf()
            if self.cohort in ("parquet", "both"):
                require_parquet()
        except (PdfError, CohortTableError) as error:
            raise ReportOutputError(str(error)) from None

    def write(self, out: Path, report: StudyReport, groups: Sequence[StudyGroup], context: ReportContext) -> list[str]:
        """Write what was asked for; returns the files, relative to ``out``.

        Args:
            out: the output folder, with the pictures of the clips.
            report: the results.
            groups: which clips form one study.
            context: what is said beside the results.
        """
        studies = collect_studies(report, groups, context)
        return [str(path.relative_to(out)) for path in self._write(out, studies)]

    def _write(self, out: Path, studies: Sequence[ReportedStudy]) -> Iterator[Path]:
        for number, study in enumerate(studies, start=1):
            html: bytes | None = None
            if self.report:
                document = describe_study(study, out)
                place = out / (REPORT_NAME if len(studies) == 1 else f"{REPORT_FOLDER}/study-{number}")
                html = html_text(document).encode()
                yield write_bytes_atomically(place.with_name(f"{place.name}.html"), html)
                yield write_pdf(place.with_name(f"{place.name}.pdf"), document)
            if self.fhir:
                yield write_fhir(out / FHIR_FOLDER / f"study-{number}.json", study, html)
        if self.report and len(studies) != 1:
            yield write_html(out / f"{REPORT_NAME}.html", describe_index(studies, f"{REPORT_FOLDER}/study-"))
        if self.cohort in ("csv", "both"):
            yield write_cohort_csv(out, studies)
        if self.cohort in ("parquet", "both"):
            yield write_cohort_parquet(out, studies)
