"""Build the content of the card from scored parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from echoapex.evaluate.card.card_file import (
    Absent,
    Agreement,
    BenchmarkCard,
    Example,
    LabelCurve,
    PartClicks,
    PartConfusion,
    PartReliability,
    PartSubgroups,
)
from echoapex.evaluate.card.rows import ScoredPart, build_overall, build_rows
from echoapex.metrics import limits_of_agreement
from echoapex.version import __version__
from echoapex.vocabulary import Quantity

_AGREEING = (Quantity.LVEF, Quantity.LVEF_DISCS, Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD)


@dataclass(frozen=True)
class CardContent:
    """Everything that a card is built from.

    Attributes:
        title: title of the page: the set of weights.
        parts: the scores; at least one part.
        clicks: interactive segmentation of each part.
        label_curves: scores by the number of labels.
        examples: outlined frames of each part.
        why_not: (``clicks`` or ``examples``, part): why the part has none.
    """

    title: str
    parts: Sequence[ScoredPart]
    clicks: Sequence[PartClicks] = ()
    label_curves: Sequence[LabelCurve] = ()
    examples: Sequence[Example] = ()
    why_not: Mapping[tuple[str, str], str] = field(default_factory=dict)


def build_card(content: CardContent) -> BenchmarkCard:
    """Build the card; what a part lacks is listed in ``absent``, with the reason."""
    parts = content.parts
    return BenchmarkCard(
        echoapex_version=__version__,
        title=content.title,
        parts=tuple(part.described for part in parts),
        subtasks=build_rows(parts),
        overall=build_overall(parts),
        confusions=tuple(
            PartConfusion(part=part.name, confusion=confusion)
            for part in parts
            if (confusion := part.metrics.views.confusion) is not None
        ),
        reliabilities=tuple(
            PartReliability(part=part.name, bins=views.reliability, error=views.expected_calibration_error)
            for part in parts
            if (views := part.metrics.views).reliability
        ),
        agreements=tuple(agreement for part in parts for agreement in _agreements(part)),
        clicks=tuple(content.clicks),
        label_curves=tuple(content.label_curves),
        examples=tuple(content.examples),
        subgroups=tuple(
            PartSubgroups(part=part.name, traits=part.metrics.subgroups) for part in parts if part.metrics.subgroups
        ),
        absent=tuple(_absent(content)),
    )


def _agreements(part: ScoredPart) -> Iterator[Agreement]:
    """Agreement of each quantity that at least two studies have."""
    for quantity in _AGREEING:
        pairs = tuple((each.truth, each.measured) for each in part.values if each.quantity is quantity)
        if len(pairs) < 2:
            continue
        limits = limits_of_agreement([truth for truth, _ in pairs], [measured for _, measured in pairs])
        yield Agreement(
            part=part.name,
            quantity=quantity,
            unit=quantity.unit if quantity.unit != "%" else "points",
            bias=limits.bias,
            lower=limits.lower,
            upper=limits.upper,
            pairs=pairs,
        )


def _absent(content: CardContent) -> Iterator[Absent]:
    for part in content.parts:
        views = part.metrics.views
        if views.given:
            given = "the true views were given to the analysis"
            yield Absent(what="confusion", part=part.name, reason=given)
            yield Absent(what="reliability", part=part.name, reason=given)
        elif not views.reliability:
            reason = "its metrics.json is of version 1.1 or no probabilities were written; run echoapex evaluate again"
            yield Absent(what="reliability", part=part.name, reason=reason)
        if not any(_agreements(part)):
            yield Absent(what="agreement", part=part.name, reason="fewer than two studies have a value and a truth")
        if not part.metrics.subgroups:
            yield Absent(what="subgroups", part=part.name, reason="the patients share every trait that is known")
    clicked, shown = {each.part for each in content.clicks}, {each.part for each in content.examples}
    for part in content.parts:
        if part.name not in clicked:
            reason = content.why_not.get(("clicks", part.name), "not asked for")
            yield Absent(what="clicks", part=part.name, reason=reason)
        if part.name not in shown:
            reason = content.why_not.get(("examples", part.name), "no structure was outlined")
            yield Absent(what="examples", part=part.name, reason=reason)
    if not content.label_curves:
        yield Absent(what="label efficiency", reason="no runs were given; --few-shot or --label-efficiency adds them")
