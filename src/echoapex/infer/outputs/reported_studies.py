"""From a ``StudyReport`` to its studies for reports: values with limits, category, code, and what is missing.

What was not measured has a reason: the notes of the clips of its view, the value that it needs and that is missing, or
that no clip shows the view.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from echoapex.domain import ClipReport, Flag, Measurement, StudyReport
from echoapex.domain.reported_study import (
    GradedValue,
    MissingValue,
    NormalLimits,
    ReportedStudy,
    StudyGroup,
    UsedWeights,
)
from echoapex.infer.clip.rv_diameter import NO_DIAMETER
from echoapex.infer.outputs.clip_pictures import short_name
from echoapex.io.report_values import find_planes
from echoapex.measure.combine import DERIVATIONS
from echoapex.measure.grading import grade_measurement
from echoapex.measure.lv_wall import assess_lvh
from echoapex.measure.reference_limits import read_reference_limits
from echoapex.models.bundle import WEIGHTS_FILE, BundleError, Card, read_card
from echoapex.models.registry import TASKS, SetPaths
from echoapex.vocabulary import Quantity, View
from echoapex.vocabulary.echo_coding import loinc_code

_WOMEN, _MEN, _ADULTS = "women", "men", "adults"
_APICAL = (View.A4C, View.A2C)
_VIEWS = {
    **dict.fromkeys((Quantity.LVEF, Quantity.LVEF_DISCS, Quantity.EDV, Quantity.ESV), _APICAL),
    **dict.fromkeys((Quantity.LV_LENGTH, Quantity.GLS_ENDOCARDIAL), _APICAL),
    **dict.fromkeys((Quantity.LA_VOLUME, Quantity.LA_VOLUME_AREA_LENGTH), _APICAL),
    **dict.fromkeys((Quantity.SPHERICITY_INDEX, Quantity.RA_VOLUME), (View.A4C,)),
    **dict.fromkeys((Quantity.RV_ED_AREA, Quantity.RV_ES_AREA, Quantity.RV_FAC), (View.A4C,)),
    **dict.fromkeys((Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD), (View.PLAX,)),
    **dict.fromkeys((Quantity.LA_DIAMETER, Quantity.RVIDD), (View.PLAX,)),
}
"""The views that each directly measured quantity is measured in."""
_PARENTS = {derivation.quantity: derivation.sources for derivation in DERIVATIONS}
"""What each derived quantity is computed from."""
_INPUT_NOTE = "input:"
_DIGEST_DIGITS = 16


@dataclass(frozen=True)
class ReportContext:
    """What a report says beside the results.

    Attributes:
        bundle: name of the set of weights.
        weights: what its cards say.
        weights_note: what a reader should know of the weights.
        keeps_identifiers: whether the analysis was told to keep identifiers, so that pictures may show them.
        left_out: why a person's review has left quantities out.
    """

    bundle: str
    weights: tuple[UsedWeights, ...] = ()
    weights_note: str = ""
    keeps_identifiers: bool = False
    left_out: Mapping[Quantity, str] = field(default_factory=dict)


def describe_weights(digests: Mapping[str, str], paths: SetPaths | None = None) -> tuple[UsedWeights, ...]:
    """The weights that took part, with licence and training data from the cards of their set.

    Args:
        digests: sha256 of the weights, by bundle.
        paths: the set; without it, licence and training data stay empty.
    """
    cards = {} if paths is None else {card.files.get(WEIGHTS_FILE, ""): card for card in _cards(paths)}
    found = []
    for name, sha256 in digests.items():
        card = cards.get(sha256)
        found.append(UsedWeights(name, sha256, card.licence if card else "", card.training_data if card else ()))
    return tuple(found)


def _cards(paths: SetPaths) -> list[Card]:
    """The cards of all bundles that a set uses, also those of the default set."""
    try:
        tasks = [paths.find_task(task) for task in TASKS]
        places = dict.fromkeys(p for task in tasks for p in (task.encoder, task.decoder, task.adapter) if p is not None)
        return [read_card(place) for place in places]
    except BundleError:  # the models were loaded before, so only a card that vanished meanwhile ends here
        return []


def collect_studies(
    report: StudyReport, groups: Sequence[StudyGroup], context: ReportContext
) -> tuple[ReportedStudy, ...]:
    """The studies of a report, in the order of their values in it; those without values last.

    Args:
        report: the results.
        groups: which clips belong together.
        context: what is said beside the results.
    """
    by_study: dict[str, list[Measurement]] = {}
    for item in report.measurements:
        by_study.setdefault(item.details.get("study", ""), []).append(item)
    order = {name: place for place, name in enumerate(by_study)}
    ranked = sorted(groups, key=lambda group: order.get(group.study or "unknown", len(order)))
    places = {clip.clip_id: place for place, clip in enumerate(report.clips)}
    studies = []
    for group in ranked:
        mine = list(report.measurements) if len(groups) == 1 else by_study.get(group.study or "unknown", [])
        found = sorted(places[clip_id] for clip_id in group.clip_ids if clip_id in places)
        clips = tuple(report.clips[place] for place in found)
        studies.append(_collect(report, group, context, mine, clips))
    return tuple(studies)


def _collect(
    report: StudyReport,
    group: StudyGroup,
    context: ReportContext,
    mine: Sequence[Measurement],
    clips: tuple[ClipReport, ...],
) -> ReportedStudy:
    found = {item.quantity: item for item in mine}
    index, rwt = found.get(Quantity.LV_MASS_INDEX), found.get(Quantity.RWT)
    lvh = assess_lvh(index.value if index else None, rwt.value if rwt else None, group.sex)
    if {Quantity.LV_MASS_INDEX, Quantity.RWT} & set(context.left_out):  # the report says why there is no category
        lvh = report.lvh
    return ReportedStudy(
        digest=group.study or _digest(clips),
        values=tuple(_graded(item, mine, clips, group.sex) for item in mine),
        missing=tuple(
            MissingValue(quantity, context.left_out.get(quantity) or _why_missing(quantity, found, clips))
            for quantity in Quantity
            if quantity not in found
        ),
        clips=clips,
        lvh=lvh,
        notes=report.notes,
        sex=group.sex,
        weights=context.weights or describe_weights(report.bundles),
        bundle=context.bundle,
        version=report.echoapex_version,
        disclaimer=report.disclaimer,
        weights_note=context.weights_note,
        keeps_identifiers=context.keeps_identifiers,
    )


def _digest(clips: Sequence[ClipReport]) -> str:
    """A name for a study that its files do not name: a digest of their digests."""
    text = "\n".join(sorted(clip.input_sha256 or clip.clip_id for clip in clips))
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_DIGITS]


def _graded(
    item: Measurement, siblings: Sequence[Measurement], clips: Sequence[ClipReport], sex: str | None
) -> GradedValue:
    view, biplane = find_planes(item, siblings, {clip.clip_id: clip for clip in clips})
    limits, source, is_rough = _limits_of(item.quantity, sex)
    grading = grade_measurement(item, sex)
    category = grading.grade.value if grading else ""
    return GradedValue(
        measurement=item,
        limits=limits,
        category=category,
        source=source,
        is_rough_guide=is_rough,
        loinc=loinc_code(item.quantity, biplane=biplane, view=view),
        view=view,
        is_biplane=biplane,
    )


def _limits_of(quantity: Quantity, sex: str | None) -> tuple[tuple[NormalLimits, ...], str, bool]:
    """Normal limits for a sex, or of both where it is unknown; their source, and whether they are a rough guide."""
    reference = read_reference_limits()
    ranges = reference.normal_ranges.get(Quantity.LVEF if quantity is Quantity.LVEF_DISCS else quantity)
    if ranges is None:
        return (), "", False
    women, men = ranges.F, ranges.M
    both = (NormalLimits(women.low, women.high, _WOMEN), NormalLimits(men.low, men.high, _MEN))
    if women == men:
        chosen: tuple[NormalLimits, ...] = (NormalLimits(women.low, women.high, _ADULTS),)
    else:
        chosen = {"F": both[:1], "M": both[1:]}.get((sex or "").strip().upper(), both)
    return chosen, reference.source, ranges.is_rough_guide


def _why_missing(quantity: Quantity, found: Mapping[Quantity, Measurement], clips: Sequence[ClipReport]) -> str:
    if quantity is Quantity.BSA:
        return "height or weight is not in the files, or the files disagree"
    if quantity is Quantity.HEART_RATE:
        return "neither the files nor the beats that were seen give a heart rate"
    if quantity in _PARENTS:
        missing = [short_name(parent) for parent in _PARENTS[quantity] if parent not in found]
        if missing:
            return f"needs: {', '.join(missing)} (not measured)"
        cut_off = any(Flag.STRUCTURE_CUT_OFF in found[parent].flags for parent in _PARENTS[quantity])
        return "the sector cuts the LV off" if cut_off else "the values that it needs do not fit together"
    return _why_in_no_view(quantity, clips)


def _why_in_no_view(quantity: Quantity, clips: Sequence[ClipReport]) -> str:
    """Why no clip of the right view gave a value."""
    wanted = _VIEWS[quantity]
    shown = [clip for clip in clips if clip.view in wanted and not clip.set_aside]
    if not shown:
        return f"no clip was analysed that shows: {' or '.join(view.display_name.lower() for view in wanted)}"
    if quantity.needs_spacing and all(clip.row_mm is None for clip in shown):
        return f"not calibrated: {'; '.join(dict.fromkeys(clip.spacing_reason for clip in shown))}"
    said = dict.fromkeys(note for clip in shown for note in clip.notes if not note.startswith(_INPUT_NOTE))
    if quantity is Quantity.RVIDD:
        notes = [note.removeprefix(NO_DIAMETER) for note in said if note.startswith(NO_DIAMETER)]
    else:
        notes = [note for note in said if not note.startswith(NO_DIAMETER)]
    return "; ".join(notes) or "in no clip of the view did the outlines meet the conditions of this measurement"
