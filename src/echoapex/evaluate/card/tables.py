"""The tables of the page beside that of the sub-tasks, as HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape

from echoapex.evaluate.card.card_file import BenchmarkCard, Part, PartClicks, PartSubgroups
from echoapex.evaluate.card.cells import goal_text, number_cell, score_cell, table
from echoapex.evaluate.metrics_file import Score, SubgroupScores
from echoapex.vocabulary import Application, Structure


def agreement_table(card: BenchmarkCard) -> str:
    """Everything that was scored of the ejection fraction, a line for each part and route."""
    rows = []
    for each in next(row for row in card.subtasks if row.application is Application.EJECTION_FRACTION).measured:
        of = {detail.name: detail for detail in each.details}
        cells = [score_cell(of[name].score, 1 if of[name].unit else 3) if name in of else "–" for name in _AGREEMENT]
        name = escape(card.shown_name(each.part))
        rows.append((name, escape(each.route), str(each.score.n), score_cell(each.score, 1), *cells))
    return table("agreement", ("Data", "Ejection fraction by", "n", "MAE", *_AGREEMENT), rows) if rows else ""


_AGREEMENT = ("RMSE", "bias", "R2", "ICC", "AUROC below 50 %", "AUROC below 40 %")


def part_table(parts: Sequence[Part]) -> str:
    """What was scored, under which terms, and by which weights."""
    heads = ("Data", "Split", "Studies", "Clips", "Ejection fraction", "Weights, sha256")
    rows = []
    for part in parts:
        weights = "<br>".join(f"{escape(name)} <code>{digest[:12]}</code>" for name, digest in part.bundles.items())
        without = f" ({part.studies_without_results} without results)" if part.studies_without_results else ""
        route = f"{part.ejection_fraction_method.display_name}, against {part.ejection_fraction_reference or '–'}"
        terms = "".join(
            f'<span class="interval">{escape(said)}</span>' for said in (part.licence, part.citation) if said
        )
        patients = '<span class="interval">simulated patients</span>' if part.simulated else ""
        dataset = "" if part.dataset == part.name else f" ({escape(part.dataset)})"
        cells = (
            f"<strong>{escape(part.name)}</strong>{dataset}{patients}{terms}", escape(part.split or "all"),
            f"{part.studies}{without}", str(part.clips), escape(route), weights or "not named",
        )  # fmt: skip
        rows.append(cells)
    return table("parts", heads, rows)


def clicks_table(found: PartClicks) -> str:
    """Dice by kind of prompt, and the clicks that 90 % take."""
    scores = found.scores
    target = f"{100 * scores.protocol.target_dice:.0f} %"
    start = "Name + " if scores.overall.from_name.curve else ""
    after_clicks = [f"{start}{count}" for count in ("1 click", "3 clicks", "5 clicks")]
    heads = ("Structure", "n", "Name", "Box", *after_clicks, f"Clicks to {target}", "Never", "Goals")
    rows = []
    for structure in Structure:
        each = scores.of(structure)
        if not each.box.n:
            continue
        best = each.from_name if each.from_name.curve else each.from_nothing
        after = [_value(best.dice[count], 3) if count in best.dice else "–" for count in (1, 3, 5)]
        asked = ((kind, found.goals.get(f"{structure.key}/{kind}"), kind == "box") for kind in ("box", "clicks"))
        goals = [
            f"{kind} {goal_text(goal, higher_is_better=higher)}" for kind, goal, higher in asked if goal is not None
        ]
        rows.append(
            (
                structure.display_name, str(each.box.n), _value(each.name, 3), score_cell(each.box, 3), *after,
                score_cell(best.noc, 1), _value(best.never, 2), "<br>".join(goals),
            )
        )  # fmt: skip
    return table("clicks", heads, rows)


_SUBGROUPS: dict[str, tuple[Callable[[SubgroupScores], Score], int]] = {
    "Views right": (lambda scores: scores.views, 3),
    "Dice, LV cavity": (lambda scores: scores.lv_cavity_dice, 3),
    "Dice, LV myocardium": (lambda scores: scores.lv_myocardium_dice, 3),
    "EF, MAE": (lambda scores: scores.ejection_fraction_mae, 1),
    "EF, bias": (lambda scores: scores.ejection_fraction_bias, 1),
}


def subgroup_table(found: PartSubgroups) -> str:
    """Headline scores of the patients who share a trait; columns that say nothing are left out."""
    every = [scores for values in found.traits.values() for scores in values.values()]
    columns = {
        head: (score_of, digits)
        for head, (score_of, digits) in _SUBGROUPS.items()
        if any(score_of(scores).value is not None for scores in every)
    }
    rows = []
    for trait, values in found.traits.items():
        for number, (value, scores) in enumerate(sorted(values.items(), key=_low_first)):
            cells = (score_cell(score_of(scores), digits) for score_of, digits in columns.values())
            rows.append((escape(trait) if number == 0 else "", escape(value), str(scores.patients), *cells))
    return table("subgroups", ("Trait", "", "Patients", *columns), rows)


def _low_first(entry: tuple[str, object]) -> tuple[bool, str]:
    return not entry[0].startswith("below"), entry[0]


def unmeasured_table(card: BenchmarkCard) -> str:
    """What each part does not measure, and why, sub-tasks with the same reason together; "" where there is nothing."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for row in card.subtasks:
        for each in row.not_measured:
            grouped.setdefault((each.part, each.reason), []).append(f"{row.number}")
    rows = [
        (escape(card.shown_name(part)), ", ".join(_ranges([int(number) for number in numbers])), escape(reason))
        for (part, reason), numbers in grouped.items()
    ]
    rows += [(escape(card.shown_name(part.name)), "data", escape(note)) for part in card.parts for note in part.notes]
    rows += [
        (escape(card.shown_name(each.part)) or "all", f"figure: {each.what}", escape(each.reason))
        for each in card.absent
    ]
    return table("unmeasured", ("Data", "Sub-tasks", "Why not"), rows) if rows else ""


def _ranges(numbers: Sequence[int]) -> Iterator[str]:
    start = previous = numbers[0]
    for number in [*numbers[1:], -1]:
        if number == previous + 1:
            previous = number
            continue
        yield f"{start}" if start == previous else f"{start}–{previous}"
        start = previous = number


def _value(score: Score, digits: int) -> str:
    """A value without its interval."""
    return number_cell(score.value, digits)
