"""What a person is told of a run: a bar or lines, what it gained, and a next command that can be typed."""

import io
import json
import shlex
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tiny_recipes import RECIPE_FOLDER, RECIPES

from echoapex.cli import app, console
from echoapex.cli.training_summary import TrainingProgress, next_commands, outcome_table, tell_outcome
from echoapex.config import merge, parse_overrides, read_recipe
from echoapex.recipes.pretrain import PretrainRecipe
from echoapex.recipes.runner import TASK_KINDS, build_recipe, find_recipe
from echoapex.tasks.task import Loss
from echoapex.train.journal import ValidationFigures

LOSS = Loss(torch.tensor(0.5), {"mask": torch.tensor(0.25)})


def build(name: str) -> object:
    sections = read_recipe(RECIPE_FOLDER / f"{name}.yaml")
    if name.startswith("dataset_"):
        sections["task"] |= {"dataset": "folder", "root": "clips"}
    return build_recipe(sections, name).task


def printed(table: object) -> str:
    stream = io.StringIO()
    Console(file=stream, width=100).print(table)
    return stream.getvalue()


def test_piped_one_line_comes_for_every_interval_and_few_for_preparation(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingProgress(log_every=5, quiet=False) as progress:
        for done in range(1, 501):
            progress.reporting.prepared("phantom clips, lv", done, 500)
        for step in range(11):
            progress.reporting.stepped(step, 11, LOSS)
        progress.reporting.noted("precision fp32: as asked")
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("step")] == [
        f"step {step} of 11  loss 0.5000  mask 0.2500" for step in (0, 5, 10)
    ]
    prepared = [line for line in lines if line.startswith("phantom clips")]
    assert 2 <= len(prepared) <= 11
    assert prepared[-1] == "phantom clips, lv: 500 of 500"
    assert lines[-1] == "precision fp32: as asked"


def test_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(console, "ERRORS", Console(file=stream, force_terminal=True, width=120))
    with TrainingProgress(log_every=5, quiet=False) as progress:
        progress.reporting.prepared("phantom clips", 1, 2)
        progress.reporting.stepped(0, 4, LOSS)
        progress.reporting.noted("precision fp32")
    assert "training" in stream.getvalue()
    assert "1/4" in stream.getvalue()
    assert "loss 0.5000" in stream.getvalue()
    assert "precision fp32" in stream.getvalue()
    assert capsys.readouterr().err == ""


def test_quiet_lets_warnings_through_only(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingProgress(log_every=1, quiet=True) as progress:
        progress.reporting.prepared("clips", 1, 1)
        progress.reporting.stepped(0, 1, LOSS)
        progress.reporting.noted("precision fp32")
        progress.reporting.noted("warning: bf16 is slow here")
    assert capsys.readouterr().err == "warning: bf16 is slow here\n"


def test_the_table_says_what_was_gained() -> None:
    figures = ValidationFigures(
        {"dice": 0.5, "view_temperature": 1.0}, {"dice": 0.75, "view_temperature": 2.0, "new": 1}
    )
    table = printed(outcome_table(figures))
    assert "0.5000" in table
    assert "+0.2500" in table
    assert "temperature" not in table
    assert "1.0000" in table.split("new")[1]


def test_an_old_run_without_figures_of_its_start_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "journal.jsonl").write_text(json.dumps({"step": 3, "scores": {"dice": 0.5}}) + "\n")
    tell_outcome(tmp_path, build("phantom_multitask"))  # type: ignore[arg-type]
    assert "are not known" in capsys.readouterr().err


@pytest.mark.parametrize("name", RECIPES)
def test_the_next_command_can_be_typed(name: str) -> None:
    task = build(name)
    commands = next_commands(Path("runs/a run"), task)  # type: ignore[arg-type]
    assert commands
    for command in commands:
        words = shlex.split(command)
        assert words[0] == "echoapex"
        assert any("runs/a run/bundles" in word for word in words)
        _, bound, unused, _ = app.parse_known_args(words[1:])
        assert not unused
        if words[1] == "finetune":
            assert isinstance(task, PretrainRecipe)
            recipe = find_recipe(bound.arguments["recipe"])
            overrides = parse_overrides(bound.arguments["overrides"])
            taught = build_recipe(merge(read_recipe(recipe), overrides), recipe.name).task
            assert isinstance(taught, TASK_KINDS["multitask"])
            same = (taught.encoder.size, taught.encoder.patch_size)  # type: ignore[attr-defined]
            assert same == (task.encoder.size, task.encoder.patch_size)
