"""The 28 rows of the card: what each part measured of each sub-task, or why it did not."""

from __future__ import annotations

from collections.abc import Sequence

from echoapex.evaluate.card.card_file import Detail, Measured, NotMeasured, SubTaskRow
from echoapex.evaluate.card.scored_part import ScoredPart
from echoapex.evaluate.card.yardsticks import Asked, goal_of, published_of
from echoapex.evaluate.metrics_file import EjectionFractionScores, MetricsFile, Score
from echoapex.vocabulary import SUBTASKS, Application, Quantity, Structure, SubTask, View

_WRITTEN_NOTHING = "no answer was written for any of the {} cases with a truth"


def build_rows(parts: Sequence[ScoredPart]) -> tuple[SubTaskRow, ...]:
    """All 28 sub-tasks in the order of :data:`SUBTASKS`."""
    return tuple(_build_row(number, subtask, parts) for number, subtask in enumerate(SUBTASKS, start=1))


def build_overall(parts: Sequence[ScoredPart]) -> dict[Application, tuple[Measured, ...]]:
    """Scores of an application as a whole: the views together."""
    found = []
    for part in parts:
        views = part.metrics.views
        details = (
            Detail(name="transthoracic only", score=views.balanced_accuracy_transthoracic),
            Detail(name="macro AUROC", score=views.macro_auroc),
            Detail(name="pixel baseline", score=views.baseline_pixels),
        )
        if views.balanced_accuracy.n:
            found.append(_measure(part, "views", "balanced accuracy", views.balanced_accuracy, details=details))
    return {Application.VIEW_CLASSIFICATION: tuple(found)}


def subject_name(subtask: SubTask) -> str:
    """A sub-task in words."""
    return subtask.subject.display_name


def _build_row(number: int, subtask: SubTask, parts: Sequence[ScoredPart]) -> SubTaskRow:
    found = [answer for part in parts for answer in _answers(subtask, part)]
    return SubTaskRow(
        number=number,
        key=subtask.key,
        application=subtask.application,
        name=subject_name(subtask),
        measured=tuple(answer for answer in found if isinstance(answer, Measured)),
        not_measured=tuple(answer for answer in found if isinstance(answer, NotMeasured)),
    )


def _answers(subtask: SubTask, part: ScoredPart) -> Sequence[Measured | NotMeasured]:
    match subtask.subject:
        case View() as view:
            return [_view(part, view)]
        case Structure() as structure:
            return [_structure(part, structure)]
        case Quantity.LVEF:
            return _ejection_fraction(part)
        case wall:
            return [_wall(part, wall)]


def _view(part: ScoredPart, view: View) -> Measured | NotMeasured:
    if part.metrics.views.given:
        return NotMeasured(part=part.name, reason="the analysis was told the views; --views find lets it find them")
    if view not in part.metrics.views.recall:
        return NotMeasured(part=part.name, reason="no clip of this view in the data")
    return _measure(part, view.value, "recall", part.metrics.views.recall[view])


def _structure(part: ScoredPart, structure: Structure) -> Measured | NotMeasured:
    scores = part.metrics.segmentation.of(structure)
    if not scores.dice.n:
        return NotMeasured(part=part.name, reason="the data outline no such structure")
    details = [Detail(name="HD95", unit="mm", score=scores.hd95_mm)] if scores.hd95_mm.n else []
    if part.metrics.dataset == "camus":  # the published figures are by view
        details += [Detail(name=view.value, score=score) for view, score in scores.by_view.items()]
    return _measure(part, structure.key, "Dice", scores.dice, details=tuple(details))


def _wall(part: ScoredPart, wall: Quantity) -> Measured | NotMeasured:
    scores = getattr(part.metrics.lv_wall, wall.value)
    if not scores.mae_mm.n:
        return NotMeasured(part=part.name, reason=_why_none(scores.mae_mm, "the data give no true wall dimension"))
    bias = Detail(name="bias", unit="mm", score=scores.bias_mm)
    return _measure(part, wall.value, "MAE", scores.mae_mm, unit="mm", details=(bias,))


def _ejection_fraction(part: ScoredPart) -> Sequence[Measured | NotMeasured]:
    """The main route of the data set, and discs on the outlines as a route of its own."""
    metrics = part.metrics
    answers: list[Measured | NotMeasured] = []
    for quantity, scores in (
        (Quantity.LVEF, metrics.ejection_fraction),
        (Quantity.LVEF_DISCS, metrics.ejection_fraction_discs),
    ):
        if scores.mae.n:
            answers.append(_agreement(part, quantity, scores))
    if answers:
        return answers
    reason = _why_none(metrics.ejection_fraction.mae, "the data give no true ejection fraction")
    return [NotMeasured(part=part.name, reason=reason)]


def _agreement(part: ScoredPart, quantity: Quantity, scores: EjectionFractionScores) -> Measured:
    r2_goal = goal_of(_asked(part, quantity.value, "R2"), scores.r2, higher_is_better=True)
    details = (
        Detail(name="R2", score=scores.r2, goal=r2_goal),
        Detail(name="bias", unit="points", score=scores.bias),
        Detail(name="RMSE", unit="points", score=scores.rmse),
        Detail(name="ICC", score=scores.icc),
        Detail(name="AUROC below 50 %", score=scores.auroc_below_50),
        Detail(name="AUROC below 40 %", score=scores.auroc_below_40),
    )
    measured = _measure(part, quantity.value, "MAE", scores.mae, unit="points", details=details)
    return measured.model_copy(update={"route": _route(part.metrics, quantity)})


def _route(metrics: MetricsFile, quantity: Quantity) -> str:
    """How the ejection fraction was found, and where the truth is another one than usual, against what."""
    if quantity is Quantity.LVEF_DISCS:
        return "discs against discs on the true outlines" if metrics.dataset == "camus" else "discs on the outlines"
    if metrics.ejection_fraction.method is Quantity.LVEF_DISCS:
        return "discs against the released value"
    return "regression from the clip"


def _measure(
    part: ScoredPart, subject: str, metric: str, score: Score, *, unit: str = "", details: tuple[Detail, ...] = ()
) -> Measured:
    asked = _asked(part, subject, metric)
    higher_is_better = not unit
    return Measured(
        part=part.name,
        metric=metric,
        unit=unit,
        higher_is_better=higher_is_better,
        score=score,
        details=tuple(detail for detail in details if detail.score.value is not None),
        goal=goal_of(asked, score, higher_is_better=higher_is_better),
        published=published_of(asked),
    )


def _asked(part: ScoredPart, subject: str, metric: str) -> Asked:
    return Asked(part.metrics.dataset, part.metrics.split, subject, metric)


def _why_none(score: Score, no_truth: str) -> str:
    return _WRITTEN_NOTHING.format(score.missing) if score.missing else no_truth
