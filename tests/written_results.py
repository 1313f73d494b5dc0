"""Makes results folders as an analysis would write them, from what the reference says plus a chosen error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from echoapex.domain import ClipReport, Evidence, Measurement, StudyReport
from echoapex.evaluate.reference import MASK_FOLDER, RESULTS_FILE, LabelMaps, ReferenceClip, ReferenceStudy
from echoapex.vocabulary import Quantity, View

BUNDLES = {"phantom/encoder": "ab" * 32}


def measurement(quantity: Quantity, value: float) -> Measurement:
    evidence = (Evidence(clip_id="clip", row_mm=0.5, column_mm=0.5),)
    return Measurement(quantity=quantity, value=value, method="test", evidence=evidence)


def write_results(
    folder: Path,
    study: ReferenceStudy,
    *,
    views: Mapping[View, View | None] | None = None,
    change_labels: Callable[[LabelMaps], LabelMaps] = lambda labels: labels,
    values: Mapping[Quantity, float] | None = None,
    pixel_mm: float | None = 0.5,
) -> Path:
    """Perfect results, unless a view is mapped to another, labels are changed, or values are given."""
    reports = [_write_clip(folder, clip, views or {}, change_labels, pixel_mm) for clip in study.clips]
    measured = study.values if values is None else values
    report = StudyReport(
        echoapex_version="0",
        bundles=BUNDLES,
        clips=tuple(reports),
        measurements=tuple(measurement(quantity, value) for quantity, value in measured.items()),
    )
    (folder / RESULTS_FILE).write_text(report.model_dump_json())
    return folder


def _write_clip(
    folder: Path,
    clip: ReferenceClip,
    views: Mapping[View, View | None],
    change_labels: Callable[[LabelMaps], LabelMaps],
    pixel_mm: float | None,
) -> ClipReport:
    clip_id = clip.sha256[:12]
    labels = change_labels(clip.read_labels())
    (folder / MASK_FOLDER).mkdir(parents=True, exist_ok=True)
    if labels:
        stack = np.stack(list(labels.values()))
        np.savez(folder / MASK_FOLDER / f"{clip_id}.npz", frames=np.array(list(labels)), labels=stack)
    return ClipReport(
        clip_id=clip_id,
        file="renamed.dcm",
        frames=len(clip.frame_times_s),
        size=(64, 64),
        content="b_mode",
        view=views.get(clip.view, clip.view),
        view_probabilities=probabilities_of(views.get(clip.view, clip.view)),
        row_mm=pixel_mm,
        column_mm=pixel_mm,
        input_sha256=clip.sha256,
    )


def probabilities_of(view: View | None) -> dict[View, float]:
    """Nine tenths for a view, the rest for the next in the list; none for none."""
    if view is None:
        return {}
    following = list(View)[(list(View).index(view) + 1) % len(View)]
    return {view: 0.9, following: 0.1}
