"""What an analysis has left in its output folder: the report, the records of its clips, and how they were made.

Everything that is computed later without the input, such as new measurements or the summary of a cohort, starts here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from echoapex.domain import StudyReport
from echoapex.domain.reported_study import ReportedStudy
from echoapex.infer.outputs.files import FILE_NAME, RESULTS_FILE, Manifest
from echoapex.infer.outputs.reported_studies import ReportContext, collect_studies
from echoapex.infer.study.records import RECORD_FOLDER, ClipRecord, describe_groups, leave_out_copies
from echoapex.version import __version__
from echoapex.vocabulary import Quantity


class StoredError(ValueError):
    """An output folder that cannot be used; the message says which and what to do."""


@dataclass(frozen=True)
class StoredAnalysis:
    """The content of an output folder.

    Attributes:
        folder: the folder.
        report: content of ``results.json``.
        records: one for each clip of the report, in its order, as the analysis of the clip left it.
        manifest: content of ``manifest.json``.
    """

    folder: Path
    report: StudyReport
    records: tuple[ClipRecord, ...]
    manifest: Manifest

    def studies(self, left_out: Mapping[Quantity, str] | None = None) -> tuple[ReportedStudy, ...]:
        """The studies with limits, categories, and what was not measured.

        Args:
            left_out: why a person's review has left quantities out; the report is that of one study then.
        """
        groups = describe_groups(leave_out_copies(self.records))
        context = ReportContext(
            self.manifest.bundle,
            (),
            self.manifest.weights_note,
            self.manifest.options.keep_identifiers,
            left_out or {},
        )
        return collect_studies(self.report, groups, context)


def read_stored(folder: Path) -> StoredAnalysis:
    """Read an output folder of ``analyze`` or ``measure``.

    Raises:
        StoredError: it holds no complete results, or results of another version.
    """
    if not (folder / RESULTS_FILE).is_file():
        raise StoredError(f"{folder.name}: holds no {RESULTS_FILE}; give the --out folder of echoapex analyze")
    try:
        report = StudyReport.model_validate_json((folder / RESULTS_FILE).read_bytes())
        manifest = _read_manifest(folder)
        records = tuple(_read_record(folder, clip.clip_id) for clip in report.clips)
    except (OSError, ValueError) as error:
        if isinstance(error, StoredError):
            raise
        raise StoredError(
            f"{folder.name}: its results cannot be read; they are damaged or of another version than {__version__}, "
            "so run echoapex analyze again"
        ) from error
    if not manifest.complete:
        raise StoredError(f"{folder.name}: its analysis was interrupted; run the same echoapex analyze again first")
    return StoredAnalysis(folder, report, records, manifest)


def _read_manifest(folder: Path) -> Manifest:
    try:
        content = (folder / FILE_NAME).read_bytes()
    except FileNotFoundError:
        raise StoredError(f"{folder.name}: holds no {FILE_NAME}; run echoapex analyze again") from None
    known: Mapping[str, object] = json.loads(content)
    return Manifest.model_validate(known)


def _read_record(folder: Path, clip_id: str) -> ClipRecord:
    try:
        return ClipRecord.model_validate_json((folder / RECORD_FOLDER / f"{clip_id}.json").read_bytes())
    except FileNotFoundError:
        raise StoredError(
            f"{folder.name}: the record of clip {clip_id} is missing in {RECORD_FOLDER}/; run echoapex analyze again"
        ) from None
    except ValidationError as error:
        raise StoredError(
            f"{folder.name}: the record of clip {clip_id} cannot be read; run echoapex analyze again"
        ) from error
