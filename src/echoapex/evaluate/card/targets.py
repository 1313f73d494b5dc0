"""Targets that scores are compared with: goals of this project, and published figures on the same data set.

A published figure is shown only next to a score on the same data set. The paper's own figure (18 views, balanced
accuracy 0.976) was measured on clips that are not public, so it is not shown next to any row.

Also here: the names of the metrics of training runs and probes, and which direction is better.
"""

from __future__ import annotations

from typing import NamedTuple

from echoapex.evaluate.card.card_file import Goal, Published
from echoapex.evaluate.click_scores import ClicksFile
from echoapex.evaluate.metrics_file import Score
from echoapex.vocabulary import Structure, View

VIEWS_OF_THE_GOAL = len(View)
"""The goal of all views together is for 18 views; fewer views are easier to classify."""

PUBLISHED: dict[tuple[str, str, str], tuple[Published, ...]] = {
    ("camus", "lv_cavity", "Dice"): (
        Published(value=0.897, source="SAM, fine-tuned", of="A4C"),
        Published(value=0.891, source="SAM, fine-tuned", of="A2C"),
        Published(value=0.850, source="EchoNet's own model", of="A4C"),
        Published(value=0.752, source="EchoNet's own model", of="A2C"),
    ),
    ("echonet_dynamic", "lv_cavity", "Dice"): (Published(value=0.92, source="EchoNet-Dynamic"),),
    ("echonet_dynamic", "lvef", "MAE"): (
        Published(value=3.87, source="Echo-Vision-FM"),
        Published(value=3.90, source="CoReEcho"),
        Published(value=3.95, source="EchoCoTr"),
        Published(value=4.05, source="EchoNet R(2+1)D, 4.05 to 4.22"),
    ),
    ("echonet_dynamic", "lvef", "R2"): (Published(value=0.825, source="best figures found, 0.81 to 0.825"),),
    ("tmed2", "views", "accuracy"): (Published(value=0.802, source="EchoPrime"),),
    ("echonet_lvh", "ivsd", "MAE"): (Published(value=1.4, source="EchoNet-LVH, internal test"),),
    ("echonet_lvh", "lvidd", "MAE"): (Published(value=2.4, source="EchoNet-LVH, internal test"),),
    ("echonet_lvh", "lvpwd", "MAE"): (Published(value=1.2, source="EchoNet-LVH, internal test"),),
}
"""Published figures by data set, subject and metric (docs/explanation/paper.md)."""

PROBES = {
    "probe/views": "Probe of views: balanced accuracy",
    "probe/segmentation": "Probe of the LV cavity, phantom: Dice of parts of patches",
    "probe/camus": "Probe of the LV cavity, CAMUS: Dice of parts of patches",
    "probe/real_views": "Probe of views, real clips: share called right",
    "probe/lv_wall": "Probe of LV walls: distance of end points in mm",
    "probe/ejection_fraction": "Probe of ejection fraction: mean absolute error in points",
}
"""Tasks of ``benchmarks/label_efficiency.py``."""

_RUNS = {
    "ef_mae": "Ejection fraction: mean absolute error in points",
    "view_frame_accuracy": "Views: accuracy of single frames",
    "wall_point_px": "LV walls: distance of end points in pixels",
    "ivs_px": "Interventricular septum: mean absolute error in pixels",
    "lvid_px": "LV internal diameter: mean absolute error in pixels",
    "lvpw_px": "LV posterior wall: mean absolute error in pixels",
}
_DICE = {f"dice_{structure.key}": f"Dice, {structure.display_name}" for structure in Structure}
_LOWER = frozenset({"probe/lv_wall", "probe/ejection_fraction", *_RUNS} - {"view_frame_accuracy"})


class CardError(ValueError):
    """The card cannot be made; the message says which file, what is wrong and what to do."""


class Asked(NamedTuple):
    """A metric of a subject on a data set; ``split`` is empty if a goal holds for the whole data set."""

    dataset: str
    split: str
    subject: str
    metric: str


GOALS: dict[Asked, float] = {
    Asked("phantom", "", "views", "balanced accuracy"): 0.93,
    Asked("phantom", "", "lv_cavity", "Dice"): 0.93,
    Asked("phantom", "", "lv_myocardium", "Dice"): 0.85,
    Asked("phantom", "", "lvef", "MAE"): 3.5,
    Asked("phantom", "", "lvef", "R2"): 0.9,
    Asked("phantom", "", "ivsd", "MAE"): 0.8,
    Asked("phantom", "", "lvidd", "MAE"): 1.5,
    Asked("phantom", "", "lvpwd", "MAE"): 0.8,
    Asked("phantom", "", "lvh", "AUROC"): 0.95,
    Asked("camus", "val", "lv_cavity", "Dice"): 0.935,
    Asked("camus", "val", "lv_myocardium", "Dice"): 0.87,
    Asked("camus", "val", "left_atrium", "Dice"): 0.90,
    Asked("camus", "val", "lvef_discs", "MAE"): 4.0,
    Asked("camus", "val", "lvef_discs", "correlation"): 0.93,
    Asked("camus", "val", "lv_cavity", "Dice, weights that never saw a patient"): 0.80,
    Asked("camus", "val", "lv_cavity", "Dice of a box"): 0.94,
    Asked("camus", "val", "lv_cavity", "clicks to 90 %"): 2.0,
}
"""The goals of this project. This is the only list: the card uses it, and docs/reference shows it.

Goals on CAMUS are for weights that were trained on its training split, unless the metric says otherwise. None of them
is a figure of the paper.
"""


def goal_of(asked: Asked, score: Score, *, higher_is_better: bool) -> Goal | None:
    """The goal of a metric, and whether the score meets it; None if there is no goal or no score."""
    value = GOALS.get(asked, GOALS.get(asked._replace(split="")))
    if value is None or score.value is None:
        return None
    return Goal(value=value, met=score.value >= value if higher_is_better else score.value <= value)


def views_goal(asked: Asked, score: Score, views: int) -> Goal | None:
    """The goal of all views together; None if fewer than 18 views were measured."""
    return goal_of(asked, score, higher_is_better=True) if views >= VIEWS_OF_THE_GOAL else None


def goal_rows() -> list[tuple[str, str, str, str]]:
    """All goals (data set, subject, metric, goal), as in docs/reference/benchmark.md."""
    lower = ("MAE", "clicks to 90 %")
    return [
        (
            f"{asked.dataset} {asked.split}".strip(),
            asked.subject,
            asked.metric,
            f"{'≤' if asked.metric in lower else '≥'} {value:g}",
        )
        for asked, value in GOALS.items()
    ]


def click_goals(scores: ClicksFile) -> dict[str, Goal]:
    """The goals of boxes and clicks on a data set, by ``structure/box`` and ``structure/clicks``."""
    found: dict[str, Goal | None] = {}
    for key, each in scores.structures.items():
        asked = Asked(scores.dataset, scores.split, key, "Dice of a box")
        clicks = (each.from_name if each.from_name.curve else each.from_nothing).noc
        found[f"{key}/box"] = goal_of(asked, each.box, higher_is_better=True)
        if scores.protocol.target_dice == 0.9:
            found[f"{key}/clicks"] = goal_of(asked._replace(metric="clicks to 90 %"), clicks, higher_is_better=False)
    return {key: goal for key, goal in found.items() if goal is not None}


def published_of(asked: Asked) -> tuple[Published, ...]:
    """Published figures on this data set."""
    return PUBLISHED.get((asked.dataset, asked.subject, asked.metric), ())


def metric_label(metric: str) -> str:
    """The name of a metric in words.

    >>> metric_label("dice_lv_cavity"), metric_label("something_else")
    ('Dice, LV cavity', 'something else')
    """
    return (PROBES | _RUNS | _DICE).get(metric, metric.replace("_", " ").replace("/", ", "))


def higher_is_better(metric: str) -> bool | None:
    """Whether higher values of a metric are better; None if there is no better direction or the metric is unknown.

    >>> higher_is_better("dice_lv_cavity"), higher_is_better("ef_mae"), higher_is_better("view_temperature")
    (True, False, None)
    """
    if metric in _LOWER:
        return False
    return True if metric in PROBES or metric in _RUNS or metric in _DICE else None
