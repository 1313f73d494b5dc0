"""A recipe becomes a checked run: every mistake one line before any work, exact resume, figures in the card."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_camus import write_tiny_camus
from tiny_recipes import RECIPE_FOLDER, RECIPES, SIDE
from tiny_tasks import build_tasks, save_set

from echoapex.config import ConfigError, read_recipe
from echoapex.models.bundle import load_bundle, read_card
from echoapex.recipes.camus import CamusRecipe
from echoapex.recipes.pretrain import PretrainRecipe
from echoapex.recipes.runner import TASK_KINDS, Reporting, build_recipe, find_recipe, finetune
from echoapex.train.checkpoint import CheckpointError
from echoapex.train.journal import read_figures, read_journal


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Segmentation of a tiny CAMUS: the fastest real recipe."""
    folder = tmp_path_factory.mktemp("recipe")
    bundles = save_set(build_tasks(), folder / "start")
    recipe = {
        "task": {
            "kind": "camus_segmentation",
            "root": str(write_tiny_camus(folder / "camus", training=3)),
            "encoder_bundle": str(bundles / "encoder"),
            "decoder_bundle": str(bundles / "segmentation"),
            "store_size": SIDE,
            "held_back": 1,
            "frames": {"batch_size": 2, "sizes": [[0, SIDE]]},
        },
        "provenance": {"name": "tiny-camus", "training_data": ["drawn"], "notes": ["a note"]},
        "train": {"steps": 4, "checkpoint_every": 2, "score_every": 10, "precision": "fp32"},
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


def test_recipes_are_found_by_name_and_by_path(tmp_path: Path) -> None:
    assert RECIPES, "some recipes ship"
    for name in RECIPES:
        assert find_recipe(name) == RECIPE_FOLDER / f"{name}.yaml"
    assert find_recipe(str(tmp_path / "own.yaml")) == tmp_path / "own.yaml"
    with pytest.raises(ConfigError, match=r"'phantom_multitusk': no such recipe; .*phantom_multitask"):
        find_recipe("phantom_multitusk")


@pytest.mark.parametrize("name", RECIPES)
def test_every_shipped_recipe_is_valid_and_says_where_its_weights_come_from(name: str) -> None:
    sections = read_recipe(find_recipe(name))
    if name.startswith("dataset_"):  # whose clips they read is for --dataset and --root to say
        sections["task"] |= {"dataset": "folder", "root": "clips"}
    recipe = build_recipe(sections, name)
    assert recipe.provenance.training_data
    assert recipe.provenance.licence
    assert recipe.train.steps > recipe.train.optim.warmup_steps
    comment = find_recipe(name).read_text(encoding="utf-8").split("\ntask:")[0]
    verb = "pretrain" if isinstance(recipe.task, PretrainRecipe) else "finetune"
    assert f"echoapex {verb} {name}" in comment, "a recipe says how it is run again"
    if isinstance(recipe.task, CamusRecipe):
        assert recipe.provenance.non_commercial, "CAMUS is for non-commercial use"


def mistakes(recipe: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        build_recipe(recipe, "own.yaml")
    return str(caught.value).splitlines()


def test_a_mistake_in_any_section_is_one_line(recipe_file: Path) -> None:
    good = read_recipe(recipe_file)
    assert mistakes({**good, "train": {"stps": 3}}) == [
        "own.yaml: train.steps: is required",
        "own.yaml: train.stps: unknown key; did you mean 'steps'?",
    ]
    assert mistakes({**good, "tain": {}}) == ["own.yaml: tain: unknown key; did you mean 'train'?"]
    assert mistakes({**good, "task": {**good["task"], "held_bak": 3}}) == [
        "own.yaml: task: held_bak: unknown key; did you mean 'held_back'?"
    ]
    assert mistakes({**good, "train": {"steps": 3, "optim": {"lr": 0}}}) == [
        "own.yaml: train.optim.lr: Input should be greater than 0 (got 0)"
    ]
    for broken in ({}, {"task": None}, {"task": {"kind": "miracle"}}, {"task": "multitask"}):
        (line,) = mistakes({**good, "task": None, **broken})
        assert line.startswith(f"own.yaml: task.kind must be one of {', '.join(TASK_KINDS)}, not ")


def test_a_run_writes_everything_and_resumes_by_itself(recipe_file: Path, tmp_path: Path) -> None:
    steps: list[int] = []

    class StoppedError(RuntimeError):
        """Stands for a power cut."""

    def stop_at_three(step: int, total: int, loss: object) -> None:
        assert total == 4
        steps.append(step)
        if len(steps) == 4:
            raise StoppedError

    straight = finetune(str(recipe_file), {}, tmp_path / "straight")
    with pytest.raises(StoppedError):
        finetune(str(recipe_file), {}, tmp_path / "resumed", reporting=Reporting(stepped=stop_at_three))
    resumed = finetune(str(recipe_file), {}, tmp_path / "resumed", reporting=Reporting(stepped=lambda *_: None))
    assert resumed == straight
    assert {"dice_lv_cavity", "dice_lv_myocardium", "dice_left_atrium"} <= set(straight)
    for part in ("encoder", "segmentation"):
        first, second = (load_bundle(tmp_path / run / "bundles" / part) for run in ("straight", "resumed"))
        assert first.digest == second.digest, "the same weights, bit for bit, after a stop"
    card = read_card(tmp_path / "straight" / "bundles" / "segmentation")
    assert card.metrics == {f"validation/{name}": value for name, value in straight.items()}
    assert card.seed == 0
    assert card.cost.startswith("4 steps")
    assert "a note" in card.notes
    written = (tmp_path / "straight" / "recipe.json").read_text(encoding="utf-8")
    assert '"held_back": 1' in written, "the recipe is written with everything that it left to defaults"
    assert '"batch_size": 2' in written
    assert [entry["step"] for entry in read_journal(tmp_path / "resumed" / "journal.jsonl") if "scores" in entry] == [3]


def test_the_start_is_validated_once_and_training_does_not_notice(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune(str(recipe_file), {"train": {"steps": 2, "checkpoint_every": 1}}, tmp_path / "run")
    first = read_journal(tmp_path / "run" / "journal.jsonl")[0]
    assert first["step"] == -1
    assert set(first["start_scores"]) == set(read_figures(tmp_path / "run" / "journal.jsonl").latest)
    finetune(str(recipe_file), {"train": {"steps": 3}}, tmp_path / "run")
    starts = [entry for entry in read_journal(tmp_path / "run" / "journal.jsonl") if "start_scores" in entry]
    assert starts == [first], "a run that goes on reads it back"

    def not_at_all(*_: object) -> None:
        return None

    finetune(str(recipe_file), {"train": {"steps": 3}}, tmp_path / "scored")
    monkeypatch.setattr("echoapex.train.trainer._score_start", not_at_all)
    finetune(str(recipe_file), {"train": {"steps": 3}}, tmp_path / "unscored")
    digests = {load_bundle(tmp_path / run / "bundles" / "encoder").digest for run in ("scored", "unscored")}
    assert len(digests) == 1, "bit for bit the weights of a run whose start was not validated"


def test_a_time_limit_ends_a_run_early_and_is_no_part_of_the_recipe(recipe_file: Path, tmp_path: Path) -> None:
    noted: list[str] = []
    reporting = Reporting(noted=noted.append)
    finetune(str(recipe_file), {"train": {"minutes": 1e-4}}, tmp_path / "run", reporting=reporting)
    assert "time is up after 1 of 4 steps; the same command goes on" in noted
    card = read_card(tmp_path / "run" / "bundles" / "segmentation")
    assert card.cost.startswith("1 of 4 steps")
    assert card.metrics, "figures of the weights that are exported"
    finetune(str(recipe_file), {}, tmp_path / "run")
    assert read_card(tmp_path / "run" / "bundles" / "segmentation").cost.startswith("4 steps")


def test_overrides_change_a_run_and_its_card(recipe_file: Path, tmp_path: Path) -> None:
    overrides = {"train": {"steps": 1, "seed": 9}, "provenance": {"name": "other"}}
    finetune(str(recipe_file), overrides, tmp_path / "run")
    card = read_card(tmp_path / "run" / "bundles" / "encoder")
    assert (card.name, card.seed) == ("other", 9)


def test_another_recipe_is_refused_before_anything_is_touched(recipe_file: Path, tmp_path: Path) -> None:
    finetune(str(recipe_file), {"train": {"steps": 2}}, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    with pytest.raises(CheckpointError, match=r"another recipe: train.steps was 2 and is now 1; use a new --out"):
        finetune(str(recipe_file), {"train": {"steps": 1}}, tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"task.click_rounds was 1 and is now 2; also differ: train.optim.lr"):
        changed = {"task": {"click_rounds": 2}, "train": {"steps": 2, "optim": {"lr": 1e-5}}}
        finetune(str(recipe_file), changed, tmp_path / "run")
    assert {path: path.read_bytes() for path in before} == before
    told_otherwise = {"log_every": 1, "score_every": 1, "checkpoint_every": 7, "trackers": []}
    finetune(
        str(recipe_file), {"train": {"steps": 2, **told_otherwise}, "provenance": {"notes": ["better words"]}},
        tmp_path / "run",
    )  # fmt: skip
    assert "better words" in read_card(tmp_path / "run" / "bundles" / "segmentation").notes


def test_a_finished_run_can_be_extended(recipe_file: Path, tmp_path: Path) -> None:
    finetune(str(recipe_file), {"train": {"steps": 1}}, tmp_path / "run")
    noted: list[str] = []
    steps: list[tuple[int, int]] = []
    reporting = Reporting(stepped=lambda step, total, loss: steps.append((step, total)), noted=noted.append)
    finetune(str(recipe_file), {"train": {"steps": 3}}, tmp_path / "run", reporting=reporting)
    assert steps == [(1, 3), (2, 3)]
    assert "extended from 1 to 3 steps; schedules follow the longer run" in noted
    assert read_card(tmp_path / "run" / "bundles" / "segmentation").cost.startswith("3 steps")
    assert json.loads((tmp_path / "run" / "effort.json").read_text())["precision"] == "fp32"
