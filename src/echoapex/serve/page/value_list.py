"""The values of a study as a reader sees them: computed, or decided by a person, with limits and evidence.

A decision holds the number that it was made on. When a correction changes that number afterwards, an approval is open
again; an edited or rejected value stays what the person said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from echoapex.config import Config
from echoapex.domain import ClipReport, Flag, Measurement, StudyReport
from echoapex.domain.reported_study import GradedValue
from echoapex.serve.page.clip_inputs import ClipFacts
from echoapex.serve.page.schemas import (
    ClipSpacing,
    EfDisagreement,
    ReviewedClip,
    ReviewedValue,
    ValueLimits,
    ValueState,
)
from echoapex.serve.page.study_results import Masks, StudyFindings
from echoapex.vocabulary import Quantity

_SAME = 1e-9


class Decision(Config):
    """What a person said of a value.

    Attributes:
        state: approved, edited or rejected.
        value: the new number of an edited value.
        reason: why.
        by: who.
        basis: the computed number on which the decision was made.
    """

    state: ValueState
    value: float | None = None
    reason: str = ""
    by: str
    basis: float


Decisions = Mapping[str, Decision]


def value_id(measurement: Measurement, clip: str = "") -> str:
    """The name of a value in a study: ``lvef``, or ``lvef@CLIP`` for the value of one clip."""
    return f"{measurement.quantity.value}@{clip}" if clip else measurement.quantity.value


def list_values(state: StudyFindings, decisions: Decisions) -> list[ReviewedValue]:
    """The values of the study, then those of its clips."""
    found = computed_numbers(state.original.report)
    values = [_reviewed(graded, value_id(graded.measurement), found, decisions) for graded in state.reported.values]
    for clip in state.current.report.clips:
        values += [
            _reviewed(GradedValue(item), value_id(item, clip.clip_id), found, decisions) for item in clip.measurements
        ]
    return values


def computed_numbers(report: StudyReport) -> dict[str, float]:
    """The computed values of a study and its clips, by the name of the value."""
    found = {value_id(item): item.value for item in report.measurements}
    for clip in report.clips:
        found |= {value_id(item, clip.clip_id): item.value for item in clip.measurements}
    return found


def _reviewed(graded: GradedValue, name: str, found: Mapping[str, float], decisions: Decisions) -> ReviewedValue:
    item, decision = graded.measurement, decisions.get(name)
    if decision is not None and decision.state is ValueState.APPROVED and not _same(decision.basis, item.value):
        decision = None
    is_edited = decision is not None and decision.state is ValueState.EDITED and decision.value is not None
    shown = decision.value if is_edited and decision is not None and decision.value is not None else item.value
    limits = graded.limits[0] if len(graded.limits) == 1 else None
    original = found.get(name)
    if not is_edited and original is not None and _same(original, item.value):
        original = None
    return ReviewedValue(
        id=name,
        quantity=item.quantity,
        name=item.quantity.display_name,
        value=shown,
        unit=item.unit,
        interval=None if is_edited else item.interval,
        method=item.method,
        confidence=item.confidence,
        flags=[flag.value for flag in item.flags],
        limits=ValueLimits(low=limits.low, high=limits.high, source=graded.source) if limits else None,
        category="" if is_edited else graded.category,
        state=decision.state if decision else ValueState.OPEN,
        original=item.value if is_edited and original is None else original,
        edited_by=decision.by if is_edited and decision else "",
        reason=decision.reason if decision else "",
        evidence=list(item.evidence),
    )


def _same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=_SAME, abs_tol=_SAME)


def show_clip(report: ClipReport, number: int, facts: ClipFacts, masks: Masks, *, corrected: bool) -> ReviewedClip:
    """A clip for the page; ``number`` counts from 1."""
    return ReviewedClip(
        clip=report.clip_id,
        label=f"Clip {number}",
        view=report.view,
        view_probability=report.view_probabilities.get(report.view) if report.view else None,
        view_probabilities=report.view_probabilities,
        quality=report.quality,
        frames=report.frames,
        size=report.size,
        frame_times_s=list(facts.frame_times_s),
        spacing=_spacing(report, facts),
        spacing_reason=report.spacing_reason if report.row_mm is None else "",
        ed_frames=list(report.ed_frames),
        es_frames=list(report.es_frames),
        r_wave_times_s=list(report.r_wave_times_s),
        volume_curve=list(report.volume_curve),
        measurements=list(report.measurements),
        structures=report.structures,
        set_aside=report.set_aside,
        notes=list(report.notes),
        corrected=corrected,
        masked_frames=sorted(masks),
        sector=facts.outline,
        has_input=facts.has_input,
    )


def _spacing(report: ClipReport, facts: ClipFacts) -> ClipSpacing | None:
    if report.row_mm is None or report.column_mm is None:
        return None
    told = (evidence.calibration_source for item in report.measurements for evidence in item.evidence)
    source = next((one for one in told if one), facts.calibration)
    return ClipSpacing(row_mm=report.row_mm, column_mm=report.column_mm, source=source)


def compare_ef(values: list[ReviewedValue]) -> EfDisagreement | None:
    """Both ejection fractions of the study side by side; None unless there are both."""
    found = {value.id: value for value in values}
    first, second = found.get(Quantity.LVEF.value), found.get(Quantity.LVEF_DISCS.value)
    if first is None or second is None:
        return None
    marked = any(Flag.METHODS_DISAGREE.value in value.flags for value in (first, second))
    return EfDisagreement(
        lvef=first.value, lvef_discs=second.value, difference=abs(first.value - second.value), marked=marked
    )
