"""The values of a study from its corrected clips, and a folder of results that holds them.

The folder has the layout of ``echoapex analyze``, so that reports, DICOM objects and tables are made from it as from
any other. What was not corrected is taken over as it was.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from echoapex.domain import ClipReport, Measurement, StudyReport
from echoapex.infer.clip.analyze import ClipAnalysis
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.outputs.clip_pictures import draw_clip
from echoapex.infer.outputs.files import (
    earlier_files,
    remove_outdated,
    utc_now,
    write_errors,
    write_manifest,
    write_masks,
    write_measurements,
    write_results,
)
from echoapex.infer.outputs.preview import write_preview
from echoapex.infer.review.recomputation import CORRECTED, ReviewError
from echoapex.infer.study.records import ClipRecord, files_of_clip, leave_out_copies, write_record
from echoapex.infer.study.stored import StoredAnalysis
from echoapex.infer.study.values import measure_studies
from echoapex.io.clip_source import ClipSource
from echoapex.vocabulary import Quantity


@dataclass(frozen=True)
class ReviewedStudy:
    """A study with corrected clips.

    Attributes:
        report: the values, combined anew.
        records: one for each clip in the order of the analysis, before copies are left out.
        corrected: the analyses of the corrected clips, by clip.
    """

    report: StudyReport
    records: tuple[ClipRecord, ...]
    corrected: Mapping[str, ClipAnalysis]


def review_study(stored: StoredAnalysis, corrected: Mapping[str, ClipAnalysis]) -> ReviewedStudy:
    """Combine the values of a study again, with corrected clips in the place of those that were analysed.

    Values that rest on a correction name it in their details, by clip.

    Args:
        stored: what the analysis has left.
        corrected: by clip, what ``ReviewClip.reanalyze`` gave.

    Raises:
        ReviewError: a corrected clip is none of the study.
    """
    known = {record.report.clip_id for record in stored.records}
    for clip_id in corrected:
        if clip_id not in known:
            raise ReviewError(f"{clip_id}: is no clip of this study; it has {', '.join(sorted(known))}")
    records = tuple(_reviewed(record, corrected.get(record.report.clip_id)) for record in stored.records)
    counted = leave_out_copies(records)
    values = measure_studies(counted)
    clips = tuple(record.report for record in counted)
    notes = [f"corrected by a person: {len(corrected)} of {len(clips)} clips"] if corrected else []
    before = measure_studies(leave_out_copies(stored.records)).notes
    kept = [note for note in stored.report.notes if note not in before]
    report = stored.report.model_copy(
        update={
            "clips": clips,
            "measurements": _told(values.measurements, clips),
            "lvh": values.lvh,
            "notes": tuple(dict.fromkeys((*values.notes, *kept, *notes))),
        }
    )
    return ReviewedStudy(report, records, dict(corrected))


def _reviewed(record: ClipRecord, found: ClipAnalysis | None) -> ClipRecord:
    if found is None:
        return record
    before = record.report
    report = found.report.model_copy(update={"file": before.file, "input_sha256": before.input_sha256})
    if report == before:
        return record
    # analyze must not take over values that it would not find itself
    content = f"{record.run_key}\n{report.model_dump_json()}"
    run_key = hashlib.sha256(content.encode()).hexdigest()[:16]
    return record.model_copy(update={"run_key": run_key, "report": report, "signature": found.signature})


def _told(measurements: Sequence[Measurement], clips: Iterable[ClipReport]) -> tuple[Measurement, ...]:
    """The values of the study with what a person corrected of that on which they rest, by clip."""
    parts = {
        (clip.clip_id, item.quantity): item.details[CORRECTED]
        for clip in clips
        for item in clip.measurements
        if CORRECTED in item.details
    }
    if not parts:
        return tuple(measurements)
    by_name = {(item.details.get("study"), item.quantity): item for item in measurements}

    def rests_on(item: Measurement) -> dict[str, dict[str, None]]:
        found: dict[str, dict[str, None]] = {}
        for evidence in item.evidence:
            own = parts.get((evidence.clip_id, item.quantity), ())
            if own:
                found.setdefault(evidence.clip_id, {}).update(dict.fromkeys(own))
        for name in dict.fromkeys(name for evidence in item.evidence for name in evidence.derived_from):
            source = by_name.get((item.details.get("study"), Quantity(name)))
            for clip_id, own in (rests_on(source) if source else {}).items():
                found.setdefault(clip_id, {}).update(own)
        return found

    told = []
    for item in measurements:
        found = {clip_id: list(own) for clip_id, own in rests_on(item).items()}
        details = {**item.details, CORRECTED: found}
        told.append(item.model_copy(update={"details": details}) if found else item)
    return tuple(told)


def write_review(
    out: Path, stored: StoredAnalysis, reviewed: ReviewedStudy, sources: Mapping[str, ClipSource] | None = None
) -> None:
    """Write a reviewed study into a folder of its own, with everything that reports and DICOM objects need.

    Args:
        out: the folder; it is made where it is missing, and what an earlier review left there is replaced.
        stored: what the analysis has left; its masks and pictures are copied for clips that were not corrected.
        reviewed: of ``review_study``.
        sources: by clip, to draw the pictures of corrected clips anew; without one a corrected clip has none.

    Raises:
        ReadError: a frame of a source cannot be decoded.
        ReviewError: ``out`` is the folder of the analysis.
    """
    if out.resolve() == stored.folder.resolve():
        raise ReviewError("the analysis itself is never changed; give another folder for the review")
    started = utc_now()
    out.mkdir(parents=True, exist_ok=True)
    earlier = earlier_files(out)
    files = [name for record in reviewed.records for name in _write_clip(out, stored, reviewed, record, sources or {})]
    for write in (write_results, write_measurements, write_errors, write_preview):
        files.append(write(out, reviewed.report).name)
    remove_outdated(out, earlier, files)
    aside = sum(1 for clip in reviewed.report.clips if clip.set_aside)
    update = {
        "started": started,
        "files": tuple(sorted(files)),
        "clips_set_aside": aside,
        "clips_analysed": len(reviewed.report.clips) - aside,
    }
    write_manifest(out, stored.manifest.model_copy(update=update))


def _write_clip(
    out: Path, stored: StoredAnalysis, reviewed: ReviewedStudy, record: ClipRecord, sources: Mapping[str, ClipSource]
) -> list[str]:
    """The files of one clip, its record last; overlay videos are not made for a review."""
    clip_id = record.report.clip_id
    analysis = reviewed.corrected.get(clip_id)
    for name in files_of_clip(out, clip_id):
        (out / name).unlink()
    if analysis is None:
        for name in files_of_clip(stored.folder, clip_id):
            if name.endswith((".png", ".npz")):
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(stored.folder / name, out / name)
    else:
        if len(analysis.labels):
            write_masks(out, clip_id, analysis.labels, analysis.header.spacing)
        source = sources.get(clip_id)
        if source is not None:
            pictures = AnalysisOptions(overlays=False, keep_identifiers=stored.manifest.options.keep_identifiers)
            draw_clip(source, analysis, out, pictures)
    write_record(out, record)
    return files_of_clip(out, clip_id)
