"""Help ends with commands that can be typed: every verb has at least one, and each is read by the real parser."""

import shlex
from importlib import resources

import pytest

from echoapex.cli import _VERBS, app, run
from echoapex.cli.console import EXIT_CODES, ExitCode


def examples_of(verb: str) -> list[str]:
    """The commands at the end of the verb's help, as they are written there."""
    epilogue = str(app[verb].help_epilogue if verb else app.help_epilogue)
    return [line.strip() for line in epilogue.splitlines() if line.startswith("    ")]


@pytest.mark.parametrize("verb", ["", *_VERBS])
def test_help_ends_with_examples_and_exit_codes(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*([verb] if verb else []), "--help"]) == ExitCode.ALL_GOOD
    shown = " ".join(capsys.readouterr().out.split())
    found = examples_of(verb)
    assert 1 <= len(found) <= 2
    for command in found:
        assert command.startswith(f"echoapex {verb}".strip())
        assert command in shown
    assert shown.endswith(EXIT_CODES)


@pytest.mark.parametrize("command", [line for verb in _VERBS for line in examples_of(verb)])
def test_an_example_can_be_typed(command: str) -> None:
    words = shlex.split(command)[1:]
    _, bound, unused, _ = app.parse_known_args(words)
    assert not unused
    if words[0] in ("finetune", "pretrain"):
        shipped = resources.files("echoapex").joinpath("recipes")
        assert shipped.joinpath(f"{bound.arguments['recipe']}.yaml").is_file()


@pytest.mark.parametrize("command", ["echoapex models list", "echoapex datasets list"])
def test_examples_that_need_no_files_run(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command in examples_of(command.split()[1])
    assert run(shlex.split(command)[1:]) == ExitCode.ALL_GOOD
    assert capsys.readouterr().out
