"""The 28 rows: what is measured, against what, and why the rest is not."""

from pathlib import Path

import pytest
from card_parts import CAVITY_DICE, VIEWS, make_part
from scipy.stats import binomtest

from echoapex.evaluate.card.card_file import SubTaskRow
from echoapex.evaluate.card.rows import build_overall, build_rows
from echoapex.vocabulary import SUBTASKS, Application, Quantity, View


def rows_of(tmp_path: Path, name: str = "test", split: str = "", **how: object) -> dict[str, SubTaskRow]:
    return {row.key: row for row in build_rows([make_part(tmp_path, name, split, **how)])}


def test_every_sub_task_has_a_row_that_says_something(tmp_path: Path) -> None:
    rows = build_rows([make_part(tmp_path)])
    assert [row.key for row in rows] == [subtask.key for subtask in SUBTASKS]
    assert [row.number for row in rows] == list(range(1, 29))
    assert all(bool(row.measured) != bool(row.not_measured) for row in rows)
    measured = {row.key for row in rows if row.measured}
    assert measured == {
        *(f"view_classification/{view}" for view in VIEWS),
        "segmentation/lv_cavity",
        "segmentation/lv_myocardium",
        *(f"lv_wall/{wall}" for wall in ("ivsd", "lvidd", "lvpwd")),
        "ejection_fraction/lvef",
    }


def test_values_counts_and_reasons(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, views={View.PLAX: View.A4C}, values={Quantity.LVEF: 40.0})
    assert rows["view_classification/A4C"].measured[0].score.value == 1
    assert rows["view_classification/PLAX"].measured[0].score.value == 0
    cavity = rows["segmentation/lv_cavity"].measured[0]
    assert cavity.score.value == pytest.approx(CAVITY_DICE)
    assert (cavity.score.n, cavity.higher_is_better, cavity.goal, cavity.published) == (16, True, None, ())
    regression = rows["ejection_fraction/lvef"].measured
    assert [each.route for each in regression] == ["regression from the clip"], "discs were not written"
    assert regression[0].score.value == pytest.approx((10 + 5 + 0 + 5) / 4)
    reasons = {key: row.not_measured[0].reason for key, row in rows.items() if row.not_measured}
    assert reasons["view_classification/ICE_LA"] == "no clip of this view in the data"
    assert reasons["segmentation/right_atrium"] == "the data outline no such structure"
    assert reasons["lv_wall/ivsd"] == "no answer was written for any of the 4 cases with a truth"


def test_views_that_were_given_are_not_measured(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, views_given=True)
    assert not rows["view_classification/A4C"].measured
    assert "true views were given" in rows["view_classification/A4C"].not_measured[0].reason


def test_a_published_figure_stands_only_beside_its_own_data_set(tmp_path: Path) -> None:
    camus = rows_of(tmp_path / "camus", "camus", "val")["segmentation/lv_cavity"].measured[0]
    assert camus.goal is not None
    assert (camus.goal.value, camus.goal.met) == (0.935, False)
    assert [(each.value, each.of) for each in camus.published] == [(0.897, "A4C"), (0.850, "A4C")], "no A2C here"
    assert {detail.name for detail in camus.details} >= {"HD95", "A4C"}
    other_split = rows_of(tmp_path / "train", "camus", "train")["segmentation/lv_cavity"].measured[0]
    assert (other_split.goal, len(other_split.published)) == (None, 2)
    lvh = rows_of(tmp_path / "lvh", "echonet_lvh")["lv_wall/lvpwd"].measured[0]
    assert [each.value for each in lvh.published] == [1.2]
    assert not rows_of(tmp_path / "test")["lv_wall/lvpwd"].measured[0].published


def test_errors_meet_a_goal_from_below(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "camus", "val", values={Quantity.LVEF: 37.5, Quantity.LVEF_DISCS: 37.5})
    discs = rows["ejection_fraction/lvef"].measured[1]
    assert discs.score.value == pytest.approx(5)
    assert discs.goal is not None
    assert (discs.goal.value, discs.goal.met) == (4, False)


def test_views_together_are_scored_apart_from_the_28(tmp_path: Path) -> None:
    found = build_overall([make_part(tmp_path, views={View.PLAX: None})])
    (views,) = found[Application.VIEW_CLASSIFICATION]
    assert (views.subject, views.metric) == ("All 2 views of the data", "balanced accuracy")
    assert (views.score.value, views.score.missing) == (0.5, 4)
    assert not build_overall([make_part(tmp_path / "told", views_given=True)])[Application.VIEW_CLASSIFICATION]


def test_transthoracic_views_stand_beside_all_where_there_are_others(tmp_path: Path) -> None:
    views = (View.A4C, View.PLAX, View.TEE_4C)
    part = make_part(tmp_path, shown=views, views={View.TEE_4C: View.A4C})
    every, alone = build_overall([part])[Application.VIEW_CLASSIFICATION]
    assert (every.subject, every.score.value, every.score.n) == ("All 3 views of the data", pytest.approx(2 / 3), 12)
    assert (alone.subject, alone.score.value, alone.score.n) == ("The 2 transthoracic views alone", 1.0, 8)


def test_hypertrophy_is_a_row_of_its_own_with_its_goal(tmp_path: Path) -> None:
    # limits are 95 g/m2 for women and 115 for men
    part = make_part(tmp_path, "phantom", mass=[("M", 100.0), ("F", 100.0), ("M", 120.0), ("M", 130.0)])
    (found,) = build_overall([part])[Application.LV_WALL]
    assert found.subject == "LV hypertrophy by mass index, 3 of 4 have it"
    assert (found.metric, found.score.value, found.score.n) == ("AUROC", 1.0, 4)
    assert found.goal is not None
    assert (found.goal.value, found.goal.met) == (0.95, True)
    assert [detail.name for detail in found.details] == ["LV mass index, mean absolute error"]
    assert not build_overall([make_part(tmp_path / "without")])[Application.LV_WALL]
    alike = make_part(tmp_path / "alike", studies=2, mass=[("M", 120.0), ("M", 130.0)])
    (undefined,) = build_overall([alike])[Application.LV_WALL]
    assert (undefined.score.value, undefined.goal) == (None, None)
    assert undefined.notes == ("not measured: it takes patients with hypertrophy and without",)


def test_a_recall_without_a_miss_has_an_exact_interval(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, views={View.PLAX: View.A4C})
    right, wrong = (rows[f"view_classification/{view}"].measured[0] for view in VIEWS)
    assert right.score.interval == (1, 1)
    assert right.exact_interval == pytest.approx(binomtest(4, 4).proportion_ci(method="exact"))
    assert wrong.exact_interval == pytest.approx(binomtest(0, 4).proportion_ci(method="exact"))
    assert right.shown_interval == right.exact_interval


def test_distances_say_why_they_are_not_measured(tmp_path: Path) -> None:
    known = rows_of(tmp_path / "known")["segmentation/lv_cavity"].measured[0]
    assert {detail.name for detail in known.details} == {"IoU", "HD95", "surface distance"}
    assert known.notes == ()
    unknown = rows_of(tmp_path / "unknown", pixel_mm=None)["segmentation/lv_cavity"].measured[0]
    assert {detail.name for detail in unknown.details} == {"IoU"}
    assert unknown.notes == ("distances in mm not measured: the pixel size is not known",)


def test_published_figures_of_details_stand_beside_them(tmp_path: Path) -> None:
    regression = rows_of(tmp_path / "ef", "echonet_dynamic")["ejection_fraction/lvef"].measured[0]
    of = {detail.name: detail for detail in regression.details}
    assert [each.value for each in of["R2"].published] == [0.825]
    assert [each.value for each in regression.published] == [3.87, 3.90, 3.95, 4.05]
    views = build_overall([make_part(tmp_path / "tmed2", "tmed2", views={View.PLAX: View.A4C})])
    accuracy = {detail.name: detail for detail in views[Application.VIEW_CLASSIFICATION][0].details}["accuracy"]
    assert (accuracy.score.value, [each.value for each in accuracy.published]) == (0.5, [0.802])
