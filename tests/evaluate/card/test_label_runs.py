"""Training runs as a curve over labels: amounts, seeds and their interval, and folders that are none."""

import json
from pathlib import Path

import pytest
from scipy import stats

from echoapex.evaluate.card.labels import read_label_curve
from echoapex.evaluate.card.targets import CardError


def write_run(folder: Path, task: dict[str, object], *scores: float, tail: str = "") -> None:
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps({"task": task}))
    entries = [{"step": step, "scores": {"dice_lv_cavity": value}} for step, value in enumerate(scores)]
    (folder / "journal.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries) + tail)


def test_seeds_of_one_amount_are_one_point(tmp_path: Path) -> None:
    for seed, value in enumerate((0.80, 0.84)):
        write_run(tmp_path / "k20" / f"seed-{seed}", {"few_shot": {"clips": 20, "seed": seed}}, 0.1, value)
    write_run(tmp_path / "k5", {"few_shot": {"clips": 5, "percent": None}}, 0.7, tail='{"step": 9, "sco')
    write_run(tmp_path / "all", {"few_shot": None}, 0.9)
    curve = read_label_curve("mine", tmp_path)
    assert [(point.amount, point.unit, point.runs) for point in curve.points] == [
        (5, "clips", 1),
        (20, "clips", 2),
        (None, "all", 1),
    ]
    five, twenty, _ = (point.scores["dice_lv_cavity"] for point in curve.points)
    assert (five.mean, five.half_width) == (0.7, None)
    assert twenty.mean == pytest.approx(0.82)
    assert twenty.half_width == pytest.approx(stats.t.ppf(0.975, 1) * 0.02, abs=1e-5)


def test_patients_are_an_amount_too(tmp_path: Path) -> None:
    write_run(tmp_path / "ten", {"patients": 10}, 0.5)
    assert read_label_curve("mine", tmp_path).points[0].unit == "patients"


def test_unfinished_runs_do_not_count(tmp_path: Path) -> None:
    write_run(tmp_path / "done", {"few_shot": {"percent": 5}}, 0.5)
    write_run(tmp_path / "begun", {"few_shot": {"percent": 10}})
    assert [point.amount for point in read_label_curve("mine", tmp_path).points] == [5]


def test_a_run_that_was_interrupted_after_a_validation_does_not_count(tmp_path: Path) -> None:
    for name, percent, steps in (("done", 5, 2), ("begun", 10, 900)):
        write_run(tmp_path / name, {"few_shot": {"percent": percent}}, 0.4, 0.5)
        recipe = {"task": {"few_shot": {"percent": percent}}, "train": {"steps": 2}}
        (tmp_path / name / "recipe.json").write_text(json.dumps(recipe | {"train": {"steps": steps, "seed": percent}}))
    with pytest.raises(CardError, match="another recipe"):
        (tmp_path / "begun/journal.jsonl").write_text('{"step": 899, "scores": {"dice_lv_cavity": 0.6}}\n')
        read_label_curve("mine", tmp_path)
    (tmp_path / "begun/journal.jsonl").write_text('{"step": 1, "scores": {"dice_lv_cavity": 0.6}}\n')
    assert [point.amount for point in read_label_curve("mine", tmp_path).points] == [5]


def test_folders_that_give_no_curve_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="holds no finished run of echoapex finetune"):
        read_label_curve("empty", tmp_path)
    write_run(tmp_path / "a", {"few_shot": {"percent": 5}}, 0.5)
    write_run(tmp_path / "b", {"few_shot": {"clips": 5}}, 0.5)
    with pytest.raises(CardError, match="counts labels in clips and in percent"):
        read_label_curve("mixed", tmp_path)
    (tmp_path / "a" / "recipe.json").write_text("[1]")
    with pytest.raises(CardError, match="is no recipe of a run"):
        read_label_curve("damaged", tmp_path)


def test_seeds_that_were_summed_up_are_read_where_the_runs_are_gone(tmp_path: Path) -> None:
    seeds = [{"dice_lv_cavity": 0.80}, {"dice_lv_cavity": 0.84}]
    few = tmp_path / "k20"
    few.mkdir()
    labels = {"few_shot": {"clips": 20, "percent": None}, "patients": None}
    (few / "seeds.json").write_text(json.dumps({"labels": labels, "seeds": seeds, "summary": {}}))
    (point,) = read_label_curve("mine", tmp_path).points
    assert (point.amount, point.unit, point.runs) == (20, "clips", 2)
    assert point.scores["dice_lv_cavity"].mean == pytest.approx(0.82)
    assert read_label_curve("mine", few / "seeds.json").points == (point,), "the file itself can be named"


def test_runs_that_are_there_are_not_counted_again_from_their_summary(tmp_path: Path) -> None:
    for seed, value in enumerate((0.80, 0.84)):
        write_run(tmp_path / f"seed-{seed}", {"few_shot": {"clips": 20, "seed": seed}}, value)
    (tmp_path / "seeds.json").write_text(json.dumps({"seeds": [{"dice_lv_cavity": 0.1}], "summary": {}}))
    (point,) = read_label_curve("mine", tmp_path).points
    assert (point.runs, point.scores["dice_lv_cavity"].mean) == (2, pytest.approx(0.82))
    (alone,) = read_label_curve("mine", tmp_path / "seeds.json").points
    assert (alone.amount, alone.runs) == (20, 1), "the recipe of its first run says from how many clips"


def test_seeds_that_do_not_say_how_many_labels_are_refused(tmp_path: Path) -> None:
    (tmp_path / "seeds.json").write_text(json.dumps({"seeds": [{"dice_lv_cavity": 0.1}], "summary": {}}))
    with pytest.raises(CardError, match="does not say how many labels"):
        read_label_curve("mine", tmp_path)
    (tmp_path / "seeds.json").write_text("{}")
    with pytest.raises(CardError, match=r"seeds.json: seeds is not valid"):
        read_label_curve("mine", tmp_path)
