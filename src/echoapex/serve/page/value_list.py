"""The values of a study as a reader sees them: computed, or decided by a person, with limits and evidence.

A decision holds the number that it was made on. When a correction or another decision changes that number afterwards,
an approval is open again; an edited or rejected value stays what the person said. What rests on an edited or rejected
value is computed again or left out, see ``infer.review.decided_values``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from echoapex.config import Config
from echoapex.domain import ClipReport, Flag, StudyReport
from echoapex.domain.reported_study import GradedValue
from echoapex.infer.review.decided_values import EDITED, DecidedStudy, ValueDecision, decide_study, value_id
from echoapex.serve.page.clip_inputs import ClipFacts
from echoapex.serve.page.schemas import (
    ClipEcg,
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


def people_said(decisions: Decisions) -> dict[str, ValueDecision]:
    """The edited and the rejected values."""
    found = {}
    for name, decision in decisions.items():
        if decision.state is ValueState.REJECTED or (
            decision.state is ValueState.EDITED and decision.value is not None
        ):
            value = decision.value if decision.state is ValueState.EDITED else None
            found[name] = ValueDecision(value, decision.by, decision.reason)
    return found


def list_values(state: StudyFindings, decisions: Decisions) -> list[ReviewedValue]:
    """The values of the study, then those of its clips: as they are now, or as they were before they were left out."""
    decided = decide_study(state.current, people_said(decisions))
    first = computed_numbers(state.original.report)
    before = {value.quantity: value for value in state.reported.values}
    now = {value.quantity: value for value in decided.reported.values}
    known = [quantity for quantity in Quantity if quantity in before or quantity in now]
    graded = {value_id(quantity): now.get(quantity) or before[quantity] for quantity in known}
    for clip, decided_clip in zip(state.current.report.clips, decided.stored.report.clips, strict=True):
        own = {item.quantity: item for item in decided_clip.measurements}
        graded |= {
            value_id(item.quantity, clip.clip_id): GradedValue(own.get(item.quantity, item))
            for item in clip.measurements
        }
    return [_reviewed(one, name, (first.get(name), decided, decisions.get(name))) for name, one in graded.items()]


def computed_numbers(report: StudyReport) -> dict[str, float]:
    """The computed values of a study and its clips, by the name of the value."""
    found = {value_id(item.quantity): item.value for item in report.measurements}
    for clip in report.clips:
        found |= {value_id(item.quantity, clip.clip_id): item.value for item in clip.measurements}
    return found


def _reviewed(
    graded: GradedValue, name: str, known: tuple[float | None, DecidedStudy, Decision | None]
) -> ReviewedValue:
    """A value for the page; ``known`` is what the analysis found, what was decided, and what of this value."""
    item = graded.measurement
    original, decided, decision = known
    is_approved = decision is not None and decision.state is ValueState.APPROVED
    if decision is not None and is_approved and (name in decided.left_out or not _same(decision.basis, item.value)):
        decision = None
    is_edited = EDITED in item.details
    follows = decided.follows.get(name, ())
    if original is None and is_edited:
        original = item.details[EDITED]["computed"]
    if original is not None and not is_edited and _same(original, item.value):
        original = None
    limits = graded.limits[0] if len(graded.limits) == 1 else None
    return ReviewedValue(
        id=name,
        quantity=item.quantity,
        name=item.quantity.display_name,
        value=item.value,
        unit=item.unit,
        interval=item.interval,
        method=item.method,
        confidence=item.confidence,
        flags=[flag.value for flag in item.flags],
        limits=ValueLimits(low=limits.low, high=limits.high, source=graded.source) if limits else None,
        category=graded.category,
        state=decision.state if decision else ValueState.OPEN,
        original=original,
        edited_by=decision.by if is_edited and decision else "",
        reason=decision.reason if decision else "",
        follows=list(follows),
        left_out=decided.left_out.get(name, ""),
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
        r_wave_source=report.r_wave_source,
        ecg=_ecg(report),
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


def _ecg(report: ClipReport) -> ClipEcg | None:
    trace = report.ecg
    if trace is None:
        return None
    return ClipEcg(times_s=list(trace.times_s), values=list(trace.values), unit=trace.unit, origin=trace.origin)


def _spacing(report: ClipReport, facts: ClipFacts) -> ClipSpacing | None:
    if report.row_mm is None or report.column_mm is None:
        return None
    told = (evidence.calibration_source for item in report.measurements for evidence in item.evidence)
    source = next((one for one in told if one), facts.calibration)
    return ClipSpacing(row_mm=report.row_mm, column_mm=report.column_mm, source=source)


def compare_ef(values: list[ReviewedValue]) -> EfDisagreement | None:
    """Both ejection fractions of the study side by side; None unless both count."""
    found = {value.id: value for value in values if value.state is not ValueState.REJECTED and not value.left_out}
    first, second = found.get(Quantity.LVEF.value), found.get(Quantity.LVEF_DISCS.value)
    if first is None or second is None:
        return None
    marked = any(Flag.METHODS_DISAGREE.value in value.flags for value in (first, second))
    return EfDisagreement(
        lvef=first.value, lvef_discs=second.value, difference=abs(first.value - second.value), marked=marked
    )
