"""Many clips to one report: find, open, analyse, write, combine; interrupted runs go on where they stopped."""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from echoapex.domain import ClipReport, StudyReport
from echoapex.domain.reported_study import UsedWeights
from echoapex.domain.results import DISCLAIMER
from echoapex.infer.clip.analyze import ClipAnalysis, analyze_clip
from echoapex.infer.clip.models import Interpreter, ViewOverride
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.outputs.clip_pictures import draw_clip
from echoapex.infer.outputs.dicom_files import DicomOutput
from echoapex.infer.outputs.files import (
    Manifest,
    earlier_files,
    library_versions,
    name_map_path,
    read_masks,
    read_or_create_name_map,
    remove_abandoned,
    remove_outdated,
    utc_now,
    write_errors,
    write_manifest,
    write_masks,
    write_measurements,
    write_name_map,
    write_results,
)
from echoapex.infer.outputs.preview import write_preview
from echoapex.infer.outputs.report_files import ReportOutput
from echoapex.infer.outputs.reported_studies import ReportContext
from echoapex.infer.study.records import (
    ClipRecord,
    KnownClip,
    build_record,
    compute_run_key,
    describe_groups,
    extend_run_key,
    files_of_clip,
    leave_out_copies,
    read_record,
    tell_calibration,
    write_record,
)
from echoapex.infer.study.values import measure_studies
from echoapex.io.clip_file import ClipFile, OpenedClip, open_clip
from echoapex.io.clip_source import ReadError
from echoapex.io.deidentify import FileNames
from echoapex.io.study_files import find_clips
from echoapex.version import __version__

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk, the quota or the largest file is full: no later clip could be written either."""


class AnalysisError(ValueError):
    """An analysis that cannot start or go on; the message says what to change."""


class Observer(Protocol):
    """Whoever wants to know how far an analysis is."""

    def found(self, clips: int) -> None:
        """So many clips were found."""

    def begun(self, name: str) -> None:
        """A clip is being analysed."""

    def finished(self, name: str, outcome: str) -> None:
        """A clip is done; ``outcome`` is what was found, in a few words."""


class SilentObserver:
    """Says nothing."""

    def found(self, clips: int) -> None:
        """Nothing."""

    def begun(self, name: str) -> None:
        """Nothing."""

    def finished(self, name: str, outcome: str) -> None:
        """Nothing."""


@dataclass(frozen=True)
class NamedInterpreter:
    """The interpreter with the names under which the manifest records it."""

    interpreter: Interpreter
    bundle: str
    device: str
    precision: str = "fp32"
    note: str = ""
    """What a reader of the results should know of the weights."""
    weights: tuple[UsedWeights, ...] = ()


@dataclass
class AnalysisRun:
    """What one run has done so far."""

    run_key: str
    out: Path | None
    inputs: int
    started: str = field(default_factory=utc_now)
    clock_s: float = field(default_factory=time.monotonic)
    records: list[ClipRecord] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)
    reused: int = 0
    seconds_by_clip: dict[str, float] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    masks: dict[str, Mapping[int, UInt8[np.ndarray, "height width"]]] = field(default_factory=dict)
    dicom: DicomOutput | None = None
    reports: ReportOutput | None = None

    def take(self, part: AnalysisRun) -> None:
        """Add what was done elsewhere for this run."""
        self.records += part.records
        self.errors += part.errors
        self.reused += part.reused
        self.seconds_by_clip |= part.seconds_by_clip
        self.files += part.files


class _Naming:
    """What names the files of a run, and the map from these names back."""

    def __init__(self, keep: bool, out: Path | None, names_file: Path | None) -> None:
        self._place = None if keep or out is None else names_file or name_map_path(out)
        self._known = None
        if out is None or self._place is None:
            self.names = FileNames(keep=keep)
            return
        if out.resolve() in self._place.resolve().parents:
            name = self._place.name
            raise AnalysisError(f"{name}: the map of names would lie inside the results; choose another --names")
        self._known = read_or_create_name_map(self._place)
        self.names = self._known.names()

    def write_map(self) -> None:
        """Add what files were called to the map, where there is one."""
        if self._place is not None and self._known is not None:
            write_name_map(self._place, self._known, self.names.originals)


class StudyAnalyzer:
    """Analyses whole studies with one set of models."""

    def __init__(
        self,
        models: NamedInterpreter,
        options: AnalysisOptions | None = None,
        observer: Observer | None = None,
        *,
        known: Mapping[str, KnownClip] | None = None,
        keep_masks: bool = False,
        raise_unexpected: bool = False,
    ) -> None:
        """Prepare an analysis.

        Args:
            models: what reads the clips.
            options: choices of the analysis.
            observer: is told of progress.
            known: what is known of clips beside their files, by the sha256 of the file.
            keep_masks: hold the label maps of every clip in memory, packed, for ``report.masks``.
            raise_unexpected: let an internal error stop the run with its traceback, for debugging.
        """
        self._models = models
        self._options = options or AnalysisOptions()
        self._observer = observer or SilentObserver()
        self._known = known or {}
        self._keep_masks = keep_masks
        self._raise_unexpected = raise_unexpected

    def run(
        self,
        paths: Sequence[Path | str],
        out: Path | None = None,
        names_file: Path | None = None,
        dicom: DicomOutput | None = None,
        reports: ReportOutput | None = None,
    ) -> StudyReport:
        """Analyse all clips in ``paths``.

        A clip that an earlier run into ``out`` finished with the same version, weights and options is taken over.
        On Ctrl-C the outputs are written for the clips that are done, and ``KeyboardInterrupt`` goes on.

        Args:
            paths: files, folders, DICOMDIRs or zip archives.
            out: the output folder; nothing is written without one.
            names_file: the map from the clips' names to their files; ``OUT.names.json`` beside ``out`` by default.
                Without ``out`` none is written.
            dicom: DICOM reports and segmentations to write into ``out``; they hold the identifiers of the patient.
            reports: reports, FHIR bundles and tables to write into ``out``; they hold none.

        Raises:
            AnalysisError: nothing was given, ``out`` is a file, the map would lie inside ``out``, or there is no room
                left.
            NameMapError: the map cannot be read or written.
        """
        if not paths:
            raise AnalysisError("nothing was given to analyse; give a file, a folder or a zip archive")
        if out is not None and out.exists() and not out.is_dir():
            raise AnalysisError(f"{out.name}: is a file, the output needs a folder; choose another --out")
        run = AnalysisRun(
            compute_run_key({**self._models.interpreter.digests, "precision": self._models.precision}, self._options),
            out,
            len(paths),
            dicom=dicom,
            reports=reports,
        )
        earlier: tuple[str, ...] = ()
        if out is not None:
            earlier = earlier_files(out)
            remove_abandoned(out)
        naming = _Naming(self._options.keep_identifiers, out, names_file)
        try:
            self._analyze_all(paths, run, naming)
        except KeyboardInterrupt:
            self._conclude(run, complete=False, earlier=earlier)
            raise
        return self._conclude(run, complete=True, earlier=earlier)

    def _analyze_all(self, paths: Sequence[Path | str], run: AnalysisRun, naming: _Naming) -> None:
        found = list(find_clips(paths, names=naming.names))
        naming.write_map()
        files = [item for item in found if isinstance(item, ClipFile)]
        run.errors += [_error_row(item) for item in found if isinstance(item, ReadError)]
        self._observer.found(len(files))
        self._work_through(files, run)

    def _work_through(self, files: Sequence[ClipFile], run: AnalysisRun) -> None:
        for file in files:
            self._observer.begun(file.display_name)
            outcome = self.analyze_file(file, run)
            self._observer.finished(file.display_name, outcome)

    def analyze_file(self, file: ClipFile, run: AnalysisRun) -> str:
        """Analyse one clip, or note why it could not be; returns the outcome in a few words."""
        start_s = time.monotonic()
        try:
            with closing(open_clip(file, keep_identifiers=self._options.keep_identifiers)) as source:
                outcome = self._analyze_source(source, file, run)
        except ReadError as error:
            run.errors.append(_error_row(error))
            return f"failed: {error.reason}"
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # native libraries raise what is no Exception
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                raise AnalysisError(
                    f"{file.display_name}: could not be finished, since there is no room left ({error.strerror}); make "
                    "room in --out and where temporary files go (TMPDIR), then the same command completes this output"
                ) from error
            if self._raise_unexpected:
                raise
            # the message of an unexpected error may quote the file: only its kind is told
            reason = f"could not be analysed (internal error: {type(error).__name__})"
            remedy = "run again with --debug and report what it shows"
            run.errors.append({"file": file.display_name, "reason": reason, "remedy": remedy})
            return f"failed: {reason}"
        run.seconds_by_clip[file.clip_id] = round(time.monotonic() - start_s, 3)
        return outcome

    def _analyze_source(self, source: OpenedClip, file: ClipFile, run: AnalysisRun) -> str:
        header = source.header
        if run.dicom is not None:
            run.dicom.remember(source)
        known = self._known.get(header.source.get("sha256", ""), KnownClip())
        run_key = extend_run_key(run.run_key, known)
        earlier = read_record(run.out, header, run_key) if run.out else None
        if run.out is not None and earlier is not None:
            run.reused += 1
            run.records.append(earlier)
            if self._keep_masks:
                run.masks[earlier.report.clip_id] = read_masks(run.out, earlier.report.clip_id)
            run.files += files_of_clip(run.out, earlier.report.clip_id)
            return f"{_outcome(earlier.report)} (done before)"
        models = self._models.interpreter
        analysis = analyze_clip(
            tell_calibration(source, known),
            file.display_name,
            models if known.view is None else ViewOverride(models, known.view),
            self._options,
            known.outlined_frames,
        )
        record = build_record(run_key, header, analysis.report, analysis.signature)
        if run.out is not None:
            self._write_clip(source, analysis, record, run.out)
            run.files += files_of_clip(run.out, record.report.clip_id)
        run.records.append(record)
        if self._keep_masks:
            run.masks[record.report.clip_id] = analysis.labels
        return _outcome(analysis.report)

    def _write_clip(self, source: OpenedClip, analysis: ClipAnalysis, record: ClipRecord, out: Path) -> None:
        """The files of one clip, its record last; what an earlier run left of it goes first."""
        report = analysis.report
        for name in files_of_clip(out, report.clip_id):
            (out / name).unlink()
        if self._options.masks and len(analysis.labels):
            write_masks(out, report.clip_id, analysis.labels, analysis.header.spacing)
        if not report.set_aside or analysis.sector is not None:
            draw_clip(source, analysis, out, self._options)
        write_record(out, record)

    def _conclude(self, run: AnalysisRun, *, complete: bool, earlier: Sequence[str]) -> StudyReport:
        """The report of what was done, and its files."""
        records = leave_out_copies(run.records)
        values = measure_studies(records)
        clips = tuple(record.report for record in records)
        report = StudyReport(
            disclaimer=DISCLAIMER,
            echoapex_version=__version__,
            bundles=dict(self._models.interpreter.digests),
            clips=clips,
            measurements=values.measurements,
            lvh=values.lvh,
            errors=tuple(run.errors),
            notes=values.notes if complete else (*values.notes, "interrupted: the same command completes this output"),
        )
        if self._keep_masks:
            report = report.with_masks(run.masks)
        if run.out is None:
            return report
        if run.dicom is not None and complete:
            report = self._write_dicom(run.dicom, report, run)
        for write in (write_results, write_measurements, write_errors, write_preview):
            run.files.append(write(run.out, report).name)
        if run.reports is not None and complete:
            models, keep = self._models, self._options.keep_identifiers
            context = ReportContext(models.bundle, models.weights, models.note, keep)
            run.files += run.reports.write(run.out, report, describe_groups(records), context)
        if complete:
            remove_outdated(run.out, earlier, run.files)
        aside = sum(1 for clip in clips if clip.set_aside)
        manifest = Manifest(
            complete=complete,
            libraries=library_versions(),
            bundle=self._models.bundle,
            weights_sha256=dict(self._models.interpreter.digests),
            device=self._models.device,
            precision=self._models.precision,
            weights_note=self._models.note,
            options=self._options,
            inputs=run.inputs,
            clips_analysed=len(clips) - aside,
            clips_set_aside=aside,
            clips_reused=run.reused,
            files_failed=len(run.errors),
            started=run.started,
            seconds=round(time.monotonic() - run.clock_s, 3),
            seconds_by_clip=run.seconds_by_clip,
            files=tuple(sorted(run.files if complete else {*run.files, *earlier})),
        )
        write_manifest(run.out, manifest)
        return report

    def _write_dicom(self, dicom: DicomOutput, report: StudyReport, run: AnalysisRun) -> StudyReport:
        """Write the DICOM objects of a finished study; the report then says what could not be written."""
        if run.out is None:
            return report
        files, notes = dicom.write(run.out, report, self._models.bundle)
        run.files += files
        return report.model_copy(update={"notes": (*report.notes, *dicom.notes(report), *notes)})


def require_paths(paths: Sequence[Path | str]) -> None:
    """Refuse paths of which one does not exist, before any work.

    Raises:
        AnalysisError: a path does not exist.
    """
    for path in paths:
        if not Path(path).exists():
            raise AnalysisError(f"{path}: does not exist; check the path")


def _error_row(error: ReadError) -> dict[str, str]:
    return {"file": error.path, "reason": error.reason, "remedy": error.remedy}


def _outcome(report: ClipReport) -> str:
    if report.set_aside:
        return f"set aside: {report.set_aside}"
    return report.view.display_name if report.view else "no view"
