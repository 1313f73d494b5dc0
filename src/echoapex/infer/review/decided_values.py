"""The values of a study after a person has edited or rejected some of them: what rests on these follows.

A value that was computed from an edited one is computed again, by the formula that the analysis uses. A value of the
study follows the edited values of its clips in the same way. Where there is nothing to compute with (a source was
rejected, or the value comes from outlines, which an edited number does not change), the value would contradict what the
person said: it is left out, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from echoapex.domain import ClipReport, Flag, Measurement
from echoapex.domain.reported_study import ReportedStudy
from echoapex.domain.results import LvhAssessment
from echoapex.infer.study.stored import StoredAnalysis
from echoapex.infer.study.values import combine_clips, measure_lv_length, measure_mean_strain
from echoapex.measure import MeasureError
from echoapex.measure.combine import (
    DERIVATIONS,
    RATIOS,
    Derivation,
    derive,
    flag_disagreement,
    flag_implausible,
)
from echoapex.measure.lv_wall import assess_lvh
from echoapex.vocabulary import Quantity

EDITED = "edited_by_person"
"""Key of ``Measurement.details``: who edited a value, why, and what was computed."""
FOLLOWS = "follows_edited_values"
"""Key of ``Measurement.details``: from which edited or rejected values one follows, and what was computed before."""

_FROM_OUTLINES = (
    Quantity.EDV,
    Quantity.ESV,
    Quantity.LVEF_DISCS,
    Quantity.LA_VOLUME,
    Quantity.LA_VOLUME_AREA_LENGTH,
)
"""What two planes give together from their outlines, not from the numbers of each plane."""
_NO_FORMULA = {Quantity.SPHERICITY_INDEX: Quantity.LV_LENGTH}
"""What rests on another value and cannot be computed from numbers alone."""
_PURE = {derivation.quantity: derivation for derivation in DERIVATIONS}
_RATIOS = {derivation.quantity: derivation for derivation in RATIOS}
_MEASURED = tuple(quantity for quantity in Quantity if quantity not in _PURE and quantity not in _RATIOS)
_SOURCES_FIRST = (*_MEASURED, *_RATIOS, *_PURE)
Roots = dict[str, None]


@dataclass(frozen=True)
class ValueDecision:
    """What a person said of a value.

    Attributes:
        value: the new number; None rejects the value.
        by: who.
        reason: why.
    """

    value: float | None
    by: str
    reason: str = ""


@dataclass(frozen=True)
class DecidedStudy:
    """A study as a person left it.

    Attributes:
        stored: the analysis with the values as they are now; rejected values and those left out are not in it.
        left_out: by name of a value, why it is left out although nobody rejected it.
        follows: by name of a value that was computed again, the names of the edited or rejected values behind it.
        reasons: why the study lacks a quantity that the analysis has found.
    """

    stored: StoredAnalysis
    left_out: Mapping[str, str]
    follows: Mapping[str, tuple[str, ...]]
    reasons: Mapping[Quantity, str]

    @property
    def reported(self) -> ReportedStudy:
        """The values with limits, categories, and what is missing."""
        return self.stored.studies(self.reasons)[0]


def value_id(quantity: Quantity, clip: str = "") -> str:
    """The name of a value in a study: ``lvef``, or ``lvef@CLIP`` for the value of one clip."""
    return f"{quantity.value}@{clip}" if clip else quantity.value


@dataclass
class _Level:
    """The values of the study, or of one clip, while decisions are applied to them.

    Attributes:
        clip: the clip; empty for the study.
        computed: what was computed.
        decisions: about these values.
        now: the values as they are.
        roots: of values that changed, the names of the decisions behind it.
        gone: why a value is no longer there.
        rejected: values that a person rejected.
    """

    clip: str
    computed: dict[Quantity, Measurement]
    decisions: Mapping[Quantity, ValueDecision]
    now: dict[Quantity, Measurement] = field(init=False)
    roots: dict[Quantity, Roots] = field(default_factory=dict)
    gone: dict[Quantity, str] = field(default_factory=dict)
    rejected: set[Quantity] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.now = dict(self.computed)

    def decide(self, quantity: Quantity) -> None:
        """Put what a person said of a value in its place, where there is such a value."""
        decision = self.decisions.get(quantity)
        if decision is None or not (quantity in self.now or quantity in self.gone):
            return
        base = self.computed.get(quantity) or self.now[quantity]
        self.roots[quantity] = {value_id(quantity, self.clip): None}
        self.gone.pop(quantity, None)
        if decision.value is None:
            self.now.pop(quantity, None)
            self.rejected.add(quantity)
            self.gone[quantity] = f"rejected by a reader: {decision.reason}"
        else:
            self.now[quantity] = _edited(base, decision, decision.value)

    def follow(self, derivation: Derivation) -> None:
        """Compute a value again if one of its sources changed."""
        quantity, sources = derivation.quantity, derivation.sources
        roots = self.roots_of(sources)
        if not roots:
            return
        missing = [source for source in sources if source not in self.now]
        if missing:
            self.leave_out(quantity, _needs(missing, self.gone), roots)
            return
        try:
            found = derive(derivation, [self.now[source] for source in sources])
        except MeasureError as error:
            self.leave_out(quantity, str(error), roots)
        else:
            self.put(quantity, found, roots)

    def roots_of(self, sources: Sequence[Quantity]) -> Roots:
        """The decisions behind some values."""
        return {name: None for source in sources for name in self.roots.get(source, ())}

    def put(self, quantity: Quantity, found: Measurement, roots: Roots) -> None:
        """Take over a value that was computed again."""
        before = self.computed.get(quantity)
        self.now[quantity] = _following(before, found, roots)
        self.roots[quantity] = roots

    def leave_out(self, quantity: Quantity, why: str, roots: Roots) -> None:
        """Take a value out that no longer fits, if there was one."""
        if quantity in self.computed:
            self.now.pop(quantity, None)
            self.roots[quantity], self.gone[quantity] = roots, why

    def settle_flags(self) -> None:
        """The flags that depend on the number, anew for values that changed."""
        for quantity in self.roots:
            if quantity in self.now:
                self.now[quantity] = flag_implausible(_without_flag(self.now[quantity], Flag.OUT_OF_RANGE))
        both = (Quantity.LVEF, Quantity.LVEF_DISCS)
        if self.clip or not any(quantity in self.roots for quantity in both):
            return
        for quantity in both:
            if quantity in self.now:
                self.now[quantity] = _without_flag(self.now[quantity], Flag.METHODS_DISAGREE)
        if all(quantity in self.now for quantity in both):
            self.now.update(zip(both, flag_disagreement(*(self.now[quantity] for quantity in both)), strict=True))

    def measurements(self) -> tuple[Measurement, ...]:
        """The values in their usual order."""
        known = [*self.computed, *(quantity for quantity in Quantity if quantity not in self.computed)]
        return tuple(self.now[quantity] for quantity in known if quantity in self.now)


def decide_study(stored: StoredAnalysis, decisions: Mapping[str, ValueDecision]) -> DecidedStudy:
    """Apply what a person said of the values of a study and of its clips.

    Args:
        stored: the analysis of one study, with the corrections of its clips.
        decisions: about edited and rejected values, by the name of the value.
    """
    if not decisions:
        return DecidedStudy(stored, {}, {}, {})
    report = stored.report
    levels = [_decide_clip(clip, _of_level(decisions, clip.clip_id)) for clip in report.clips]
    clips = tuple(
        clip.model_copy(update={"measurements": level.measurements()})
        for clip, level in zip(report.clips, levels, strict=True)
    )
    study = _Level("", {item.quantity: item for item in report.measurements}, _of_level(decisions, ""))
    _decide_values_of_study(study, clips, levels)
    both = [study, *levels]
    left_out = {value_id(quantity, level.clip): why for level in both for quantity, why in _left_out(level)}
    follows = {
        value_id(quantity, level.clip): tuple(roots)
        for level in both
        for quantity, roots in level.roots.items()
        if quantity in level.now and FOLLOWS in level.now[quantity].details
    }
    reasons = {quantity: why for quantity, why in study.gone.items() if quantity not in study.now}
    notes = [f"{quantity.display_name} is left out: {why}" for quantity, why in _left_out(study)]
    update = {
        "clips": clips,
        "measurements": _in_order(study.measurements()),
        "lvh": _geometry(stored, study, reasons),
        "notes": (*report.notes, *notes),
    }
    return DecidedStudy(replace(stored, report=report.model_copy(update=update)), left_out, follows, reasons)


def _of_level(decisions: Mapping[str, ValueDecision], clip: str) -> dict[Quantity, ValueDecision]:
    parts = ((name.partition("@"), decision) for name, decision in decisions.items())
    return {Quantity(quantity): decision for (quantity, _, where), decision in parts if where == clip}


def _decide_clip(clip: ClipReport, decisions: Mapping[Quantity, ValueDecision]) -> _Level:
    level = _Level(clip.clip_id, {item.quantity: item for item in clip.measurements}, decisions)
    if decisions:
        for quantity in _SOURCES_FIRST:
            if quantity in level.computed:
                _follow_within(level, quantity)
            level.decide(quantity)
        level.settle_flags()
    return level


def _decide_values_of_study(study: _Level, clips: Sequence[ClipReport], levels: Sequence[_Level]) -> None:
    """First what follows from the values of clips, then what was decided of the study, and what follows from that."""
    again: dict[Quantity, Measurement] = {}
    if any(level.roots for level in levels):
        again = combine_clips(clips) | measure_mean_strain(clips) | measure_lv_length(clips)
    for quantity in _SOURCES_FIRST:
        if quantity in _PURE:
            study.follow(_PURE[quantity])
        elif quantity in study.computed:
            _carry(study, quantity, levels, again.get(quantity))
            _follow_within(study, quantity)
        study.decide(quantity)
    study.settle_flags()


def _carry(study: _Level, quantity: Quantity, levels: Sequence[_Level], again: Measurement | None) -> None:
    """A value of the study after the values of its clips have changed."""
    planes = set(study.computed[quantity].details.get("planes", {}).values())
    changed = [level for level in levels if quantity in level.roots and (not planes or level.clip in planes)]
    roots = {name: None for level in changed for name in level.roots[quantity]}
    if not roots:
        return
    if planes and quantity in _FROM_OUTLINES:
        why = (
            "it comes from the outlines of two planes together, which do not change with the number of one plane; "
            "correct the outline, leave the clip out, or edit this value"
        )
        study.leave_out(quantity, why, roots)
    elif again is None:
        study.leave_out(quantity, "no clip gives it any more", roots)
    else:
        study.put(quantity, again, roots)


def _follow_within(level: _Level, quantity: Quantity) -> None:
    """What was measured beside other values follows them where a person decided these themselves."""
    if quantity in _RATIOS:
        derivation = _RATIOS[quantity]
        if any(source in level.decisions and source in level.roots for source in derivation.sources):
            level.follow(derivation)
    elif quantity in _NO_FORMULA and _NO_FORMULA[quantity] in level.decisions:
        source = _NO_FORMULA[quantity]
        if source in level.roots:
            why = f"it was measured with the {source.display_name} that a person changed; edit this value, too"
            level.leave_out(quantity, why, level.roots_of((source,)))


def _edited(item: Measurement, decision: ValueDecision, value: float) -> Measurement:
    told = {"by": decision.by, "reason": decision.reason, "computed": item.value}
    method = f"edited by a person; computed was {item.value:.4g} {item.unit} by {item.method}"
    update = {"value": value, "interval": None, "method": method, "details": {**item.details, EDITED: told}}
    return item.model_copy(update=update)


def _following(before: Measurement | None, found: Measurement, roots: Roots) -> Measurement:
    """A value that was computed again, with what it was before; its evidence stays where it has some."""
    names = ", ".join(_in_words(name) for name in roots)
    was = "" if before is None else f"; computed was {before.value:.4g} {before.unit}"
    told = {"from": list(roots), "computed": before.value if before else None}
    details = {**(before.details if before else {}), **found.details, FOLLOWS: told}
    method = f"{found.method}, computed again because a person changed {names}{was}"
    evidence = before.evidence if before is not None and before.evidence else found.evidence
    return found.model_copy(update={"method": method, "details": details, "evidence": evidence})


def _in_words(name: str) -> str:
    quantity, _, clip = name.partition("@")
    return Quantity(quantity).display_name + (f" of clip {clip}" if clip else "")


def _needs(missing: Sequence[Quantity], gone: Mapping[Quantity, str]) -> str:
    parts = []
    for source in missing:
        why = gone.get(source, "")
        state = "was not measured" if not why else "was rejected" if why.startswith("rejected") else "is left out"
        parts.append(f"{source.display_name}, which {state}")
    return f"it needs {' and '.join(parts)}"


def _left_out(level: _Level) -> Iterator[tuple[Quantity, str]]:
    for quantity, why in level.gone.items():
        if quantity not in level.rejected and quantity not in level.now:
            yield quantity, why


def _without_flag(item: Measurement, flag: Flag) -> Measurement:
    return item.model_copy(update={"flags": tuple(one for one in item.flags if one is not flag)})


def _in_order(items: Sequence[Measurement]) -> tuple[Measurement, ...]:
    order = {quantity: place for place, quantity in enumerate(Quantity)}
    return tuple(sorted(items, key=lambda item: order[item.quantity]))


def _geometry(stored: StoredAnalysis, study: _Level, reasons: Mapping[Quantity, str]) -> LvhAssessment:
    """LV geometry of the values as they are now."""
    parts = (Quantity.LV_MASS_INDEX, Quantity.RWT)
    if not any(quantity in study.roots for quantity in parts):
        return stored.report.lvh
    gone = [f"{quantity.display_name}: {reasons[quantity]}" for quantity in parts if quantity in reasons]
    if gone:
        return LvhAssessment(reason=f"no category: {'; '.join(gone)}")
    index, rwt = (study.now.get(quantity) for quantity in parts)
    sex = stored.studies()[0].sex
    return assess_lvh(index.value if index else None, rwt.value if rwt else None, sex)
