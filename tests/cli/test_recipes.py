"""``echoapex recipes``: lines when piped, a table on a terminal, JSON when asked, one line for a mistake."""

import io
import json

import pytest
from tiny_recipes import RECIPE_FOLDER, RECIPES

from echoapex.cli import recipes, run
from echoapex.cli.console import ExitCode, PipedConsole


def test_the_list_is_plain_lines_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes", "list"]) == ExitCode.ALL_GOOD
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == RECIPES
    assert {len(line) for line in lines} == {6}
    assert run(["recipes"]) == ExitCode.ALL_GOOD
    assert [line.split("\t") for line in capsys.readouterr().out.splitlines()] == lines


def test_on_a_terminal_it_is_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    terminal = PipedConsole(file=stream, force_terminal=True, width=200)
    monkeypatch.setattr(recipes, "PipedConsole", lambda: terminal)
    assert run(["recipes", "keys", "phantom_multitask"]) == ExitCode.ALL_GOOD
    assert "description" in stream.getvalue()
    assert "task.frames.batch_size" in stream.getvalue()
    assert "\t" not in stream.getvalue()


def test_a_recipe_is_shown_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes", "show", "phantom_multitask"]) == ExitCode.ALL_GOOD
    assert capsys.readouterr().out == (RECIPE_FOLDER / "phantom_multitask.yaml").read_text()


def test_keys_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes", "keys", "pretrain", "--json"]) == ExitCode.ALL_GOOD
    keys = {key["name"]: key for key in json.loads(capsys.readouterr().out)}
    assert keys["train.steps"] == {
        "name": "train.steps", "type": "whole number, >= 1", "default": "required", "description": "",
    }  # fmt: skip
    assert run(["recipes", "list", "--json"]) == ExitCode.ALL_GOOD
    assert [recipe["name"] for recipe in json.loads(capsys.readouterr().out)] == RECIPES


@pytest.mark.parametrize("command", [["show", "phantom_multitusk"], ["keys", "multitusk"], ["show", "nowhere.yaml"]])
def test_a_mistake_is_one_line(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes", *command]) == ExitCode.USAGE
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert command[1] in told.err
