"""The 28 rows of the card: the scores of each part for each sub-task, or why it has none.

A part of the card is one output folder of ``echoapex evaluate``, which is read here.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from echoapex.data.datasets import DATASETS
from echoapex.evaluate.card.card_file import Detail, Measured, NotMeasured, Part, SubTaskRow
from echoapex.evaluate.card.targets import VIEWS_OF_THE_GOAL, Asked, CardError, goal_of, published_of, views_goal
from echoapex.evaluate.metrics_file import EjectionFractionScores, MetricsFile, Score, StructureScores
from echoapex.metrics import exact_share_interval
from echoapex.phantom.truth import is_held_out
from echoapex.vocabulary import SUBTASKS, Application, Probe, Quantity, Structure, SubTask, View

METRICS_FILE, CASES_FILE = "metrics.json", "cases.csv"
OWN_CLIPS = "folder"
SIMULATED = "phantom"
"""Name of the data set with simulated patients."""
Content = TypeVar("Content", bound=BaseModel)

_WRITTEN_NOTHING = "no answer was written for any of the {} cases with a truth"


class MaskRow(NamedTuple):
    """One outlined structure on one frame; ``dice`` is 0 if no mask was written."""

    patient: str
    clip: str
    frame: int
    structure: Structure
    dice: float
    written: bool


class ValuePair(NamedTuple):
    """The true and the measured value of one quantity of one study."""

    patient: str
    quantity: Quantity
    truth: float
    measured: float


@dataclass(frozen=True)
class ScoredPart:
    """The scores of one set of weights on one data set.

    Attributes:
        name: its name on the card.
        folder: the output folder of ``echoapex evaluate``.
        metrics: content of ``metrics.json``.
        masks: the outlined structures in ``cases.csv``.
        values: the values in ``cases.csv`` for which the analysis wrote a value.
        viewed: the true views in ``cases.csv``, each with its patients.
    """

    name: str
    folder: Path
    metrics: MetricsFile
    masks: tuple[MaskRow, ...]
    values: tuple[ValuePair, ...]
    viewed: Mapping[View, frozenset[str]] = field(default_factory=dict)

    def patients_of(self, view: View) -> int:
        """Number of patients with clips of a view."""
        return len(self.viewed.get(view, ()))

    @property
    def described(self) -> Part:
        """The description of the part on the card."""
        metrics = self.metrics
        public = DATASETS.get(metrics.dataset) if metrics.dataset != OWN_CLIPS else None
        return Part(
            name=self.name,
            dataset=metrics.dataset,
            split=metrics.split,
            studies=metrics.studies,
            studies_without_results=metrics.studies_without_results,
            clips=metrics.clips,
            simulated=metrics.dataset == SIMULATED,
            views_given=metrics.views.given,
            ejection_fraction_method=metrics.ejection_fraction.method,
            ejection_fraction_reference=metrics.ejection_fraction.reference,
            echoapex_version=metrics.echoapex_version,
            bundles=metrics.bundles,
            licence=public.licence if public else "",
            citation=public.citation if public else "",
            notes=metrics.notes,
        )


def read_scored_part(name: str, folder: Path) -> ScoredPart:
    """Read ``metrics.json`` and ``cases.csv``.

    Raises:
        CardError: a file is missing or damaged, or it scores phantom patients for training.
    """
    metrics = read_json_file(folder / METRICS_FILE, MetricsFile, "echoapex evaluate")
    path = folder / CASES_FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise CardError(f"{path}: cannot be read ({error.strerror}); run echoapex evaluate again") from error
    try:
        masks = tuple(_mask_row(row) for row in rows if row["truth"] == "mask")
        values = tuple(_value_pair(row) for row in rows if row["subject"] in list(Quantity) and _is_written(row))
        viewed = _patients_by_view(row for row in rows if row["subject"] == "view")
        patients = {row["patient"] for row in rows}
        _require_held_out(path, metrics.dataset, patients)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, CardError):
            raise
        raise CardError(f"{path}: is not a table of cases ({error}); run echoapex evaluate again") from error
    return ScoredPart(name, folder, metrics, masks, values, viewed)


def read_json_file(path: Path, kind: type[Content], written_by: str) -> Content:
    """Read a JSON file that a command of EchoApex wrote.

    Raises:
        CardError: the file is missing or has other content.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CardError(f"{path}: cannot be read ({error.strerror}); give an output folder of {written_by}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise CardError(f"{path}: {place} is not valid ({first['msg']}); run {written_by} again") from error


def build_rows(parts: Sequence[ScoredPart]) -> tuple[SubTaskRow, ...]:
    """Rows for all 28 sub-tasks in the order of :data:`SUBTASKS`."""
    return tuple(_build_row(number, subtask, parts) for number, subtask in enumerate(SUBTASKS, start=1))


def build_overall(parts: Sequence[ScoredPart]) -> dict[Application, tuple[Measured, ...]]:
    """Scores of whole applications: all views, transthoracic views alone, and hypertrophy."""
    views = [measured for part in parts for measured in _views_together(part)]
    transthoracic = [measured for part in parts for measured in _transthoracic_views(part)]
    return {
        Application.VIEW_CLASSIFICATION: (*views, *transthoracic),
        Application.LV_WALL: tuple(measured for part in parts for measured in _hypertrophy(part)),
    }


def subject_name(subtask: SubTask) -> str:
    """A sub-task in words."""
    return subtask.subject.display_name


def _mask_row(row: dict[str, str]) -> MaskRow:
    return MaskRow(
        row["patient"],
        row["clip"],
        int(row["frame"]),
        Structure.from_key(row["subject"]),
        float(row["dice"]),
        row["predicted"] == "mask",
    )


def _value_pair(row: dict[str, str]) -> ValuePair:
    return ValuePair(row["patient"], Quantity(row["subject"]), float(row["truth"]), float(row["predicted"]))


def _is_written(row: dict[str, str]) -> bool:
    return row["predicted"] != "missing"


def _patients_by_view(rows: Iterable[dict[str, str]]) -> dict[View, frozenset[str]]:
    found: dict[View, set[str]] = {}
    for row in rows:
        found.setdefault(View(row["truth"]), set()).add(row["patient"])
    return {view: frozenset(patients) for view, patients in found.items()}


def _require_held_out(path: Path, dataset: str, patients: set[str]) -> None:
    """Refuse phantom patients for training; the names of phantom patients contain their seeds."""
    seeds = [int(patient.rpartition("-")[2]) for patient in patients] if dataset == SIMULATED else []
    seen = sorted(seed for seed in seeds if not is_held_out(seed))
    if seen:
        raise CardError(
            f"{path}: scores phantom patients for training (seed {seen[0]}); evaluate with --split held_out"
        )


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
        return NotMeasured(part=part.name, reason="the true views were given to the analysis; use --views find")
    if view not in part.metrics.views.recall:
        return NotMeasured(part=part.name, reason="no clip of this view in the data")
    measured = _measure(part, view.value, "recall", part.metrics.views.recall[view])
    return measured.model_copy(update={"exact_interval": _exact_interval(measured.score, part.patients_of(view))})


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


def _exact_interval(score: Score, patients: int) -> tuple[float, float] | None:
    """The exact interval of a share if it is the same in all patients; None if they differ."""
    if score.value not in (0.0, 1.0) or not patients or (score.interval and score.interval[0] != score.interval[1]):
        return None
    return exact_share_interval(round(score.value * patients), patients)


def _structure(part: ScoredPart, structure: Structure) -> Measured | NotMeasured:
    scores = part.metrics.segmentation.of(structure)
    if not scores.dice.n:
        return NotMeasured(part=part.name, reason="the data outline no such structure")
    details = [
        Detail(name="IoU", score=scores.iou),
        Detail(name="HD95", unit="mm", score=scores.hd95_mm),
        Detail(name="surface distance", unit="mm", score=scores.surface_mm),
    ]
    if part.metrics.dataset == "camus":  # the published figures are per view
        details += [Detail(name=view.value, score=score) for view, score in scores.by_view.items()]
    measured = _measure(part, structure.key, "Dice", scores.dice, details=tuple(details))
    published = tuple(each for each in measured.published if not each.of or View(each.of) in scores.by_view)
    return measured.model_copy(update={"notes": _without_distance(scores), "published": published})


def _without_distance(scores: StructureScores) -> tuple[str, ...]:
    """Notes on frames without a distance in mm."""
    without, frames = scores.hd95_mm.missing, scores.dice.n
    if not without:
        return ()
    if scores.dice.missing == frames:
        return ("distances in mm not measured: no outline was written",)
    if without == frames:
        return ("distances in mm not measured: the pixel size is not known",)
    return (f"no distance in {without} of {frames} frames",)


def _ejection_fraction(part: ScoredPart) -> Sequence[Measured | NotMeasured]:
    """The main method of the data set, and the method of discs on the outlines as a separate one."""
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
    r2_asked = _asked(part, quantity.value, "R2")
    r2_goal = goal_of(r2_asked, scores.r2, higher_is_better=True)
    details = (
        Detail(name="R2", score=scores.r2, goal=r2_goal, published=published_of(r2_asked)),
        Detail(name="bias", unit="points", score=scores.bias),
        Detail(name="RMSE", unit="points", score=scores.rmse),
        Detail(name="ICC", score=scores.icc),
        Detail(name="AUROC below 50 %", score=scores.auroc_below_50),
        Detail(name="AUROC below 40 %", score=scores.auroc_below_40),
    )
    measured = _measure(part, quantity.value, "MAE", scores.mae, unit="points", details=details)
    return measured.model_copy(update={"route": _route(part.metrics, quantity)})


def _route(metrics: MetricsFile, quantity: Quantity) -> str:
    """The method of the ejection fraction, and its reference if that is not the usual one."""
    if quantity is Quantity.LVEF_DISCS:
        return "discs against discs on the true outlines" if metrics.dataset == "camus" else "discs on the outlines"
    if metrics.ejection_fraction.method is Quantity.LVEF_DISCS:
        return "discs against the released value"
    return "regression from the clip"


def _why_none(score: Score, no_truth: str) -> str:
    return _WRITTEN_NOTHING.format(score.missing) if score.missing else no_truth


def _wall(part: ScoredPart, wall: Quantity) -> Measured | NotMeasured:
    scores = getattr(part.metrics.lv_wall, wall.value)
    if not scores.mae_mm.n:
        return NotMeasured(part=part.name, reason=_why_none(scores.mae_mm, "the data give no true wall dimension"))
    bias = Detail(name="bias", unit="mm", score=scores.bias_mm)
    return _measure(part, wall.value, "MAE", scores.mae_mm, unit="mm", details=(bias,))


def _views_together(part: ScoredPart) -> Iterator[Measured]:
    views = part.metrics.views
    if not views.balanced_accuracy.n:
        return
    details = (
        Detail(name="macro AUROC", score=views.macro_auroc),
        Detail(name="accuracy", score=views.accuracy, published=published_of(_asked(part, "views", "accuracy"))),
        Detail(name="calibration error", score=views.expected_calibration_error),
        Detail(name="pixel baseline", score=views.baseline_pixels),
    )
    measured = _measure(part, "views", "balanced accuracy", views.balanced_accuracy, details=details)
    asked, count = _asked(part, "views", "balanced accuracy"), len(views.recall)
    goal = views_goal(asked, views.balanced_accuracy, count)
    fewer = (f"its goal is for {VIEWS_OF_THE_GOAL} views",) if measured.goal and not goal else ()
    yield measured.model_copy(update={"subject": f"All {count} views of the data", "goal": goal, "notes": fewer})


def _transthoracic_views(part: ScoredPart) -> Iterator[Measured]:
    """Only if the data also have views of other probes; otherwise the score would appear twice."""
    views, score = part.metrics.views, part.metrics.views.balanced_accuracy_transthoracic
    surface = [view for view in views.recall if view.probe is Probe.TTE]
    if score.n and len(surface) < len(views.recall):
        measured = _measure(part, "transthoracic_views", "balanced accuracy", score)
        yield measured.model_copy(update={"subject": f"The {len(surface)} transthoracic views alone"})


def _hypertrophy(part: ScoredPart) -> Iterator[Measured]:
    """How well the LV mass from the measured walls detects hypertrophy."""
    found = part.metrics.lvh
    if not found.auroc.n:
        return
    details = (Detail(name="LV mass index, mean absolute error", unit="g/m²", score=found.mass_index_mae_g_per_m2),)
    measured = _measure(part, "lvh", "AUROC", found.auroc, details=details)
    have = f", {found.hypertrophied} of {found.auroc.n} have it" if found.hypertrophied else ""
    alike = () if found.auroc.value is not None else ("not measured: it takes patients with hypertrophy and without",)
    yield measured.model_copy(update={"subject": f"LV hypertrophy by mass index{have}", "notes": alike})
