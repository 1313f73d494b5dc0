"""The corrected results on the disk: at once what numbers need, and the pictures when they are exported."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from echoapex.infer.clip.analyze import ClipAnalysis
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.outputs.clip_pictures import draw_clip
from echoapex.infer.outputs.files import utc_now, write_manifest, write_masks, write_results
from echoapex.infer.review.review_study import ReviewedStudy
from echoapex.infer.study.records import files_of_clip, write_record
from echoapex.infer.study.stored import StoredAnalysis
from echoapex.serve.page.clip_inputs import ClipInputs

_OUTDATED = ".pictures-outdated"
_KEPT = (".png", ".npz")


def write_corrected_clip(out: Path, original: StoredAnalysis, reviewed: ReviewedStudy, clip: str) -> None:
    """Write the record and the masks of one clip, and the values of the study; its picture follows at an export.

    Args:
        out: folder of the corrected results.
        original: what the analysis has left; its files are linked for clips that were not corrected.
        reviewed: the values.
        clip: the clip whose correction changed.
    """
    out.mkdir(parents=True, exist_ok=True)
    for record in reviewed.records:
        name = record.report.clip_id
        if name == clip or not files_of_clip(out, name):
            _write_clip(out, original, reviewed.corrected.get(name), name)
            write_record(out, record)
    (out / _OUTDATED).touch()
    write_results(out, reviewed.report)
    aside = sum(1 for one in reviewed.report.clips if one.set_aside)
    update = {"started": utc_now(), "clips_set_aside": aside, "clips_analysed": len(reviewed.report.clips) - aside}
    write_manifest(out, original.manifest.model_copy(update={**update, "files": ()}))


def _write_clip(out: Path, original: StoredAnalysis, analysis: ClipAnalysis | None, clip: str) -> None:
    for name in files_of_clip(out, clip):
        (out / name).unlink()
    if analysis is not None:
        if len(analysis.labels):
            write_masks(out, clip, analysis.labels, analysis.header.spacing)
        return
    for name in files_of_clip(original.folder, clip):
        if name.endswith(_KEPT):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(original.folder / name, out / name)
            except OSError:  # another disk
                shutil.copyfile(original.folder / name, out / name)


def draw_corrected_clips(out: Path, corrected: Mapping[str, ClipAnalysis], inputs: tuple[str, ClipInputs]) -> None:
    """Draw the pictures of the corrected clips, unless they are as new as the corrections.

    Args:
        out: folder of the corrected results.
        corrected: the analysis of each corrected clip.
        inputs: the study, and what opens its clips.
    """
    if not (out / _OUTDATED).exists():
        return
    study, files = inputs
    for clip, analysis in corrected.items():
        with files.opened(study, clip) as source:
            draw_clip(source, analysis, out, AnalysisOptions(overlays=False))
    (out / _OUTDATED).unlink(missing_ok=True)
