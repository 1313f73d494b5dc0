"""Steps are taken back in order, a new one ends what was undone, and only the latest are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from echoapex.serve.database import Database
from echoapex.serve.page.steps import Steps


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    database.migrate()
    return Steps(database, 3)


def push(steps: Steps, number: int) -> None:
    steps.push("s", ("value", f"v{number}"), f"step {number}", (b"before", f"after {number}".encode()))


def test_steps_go_back_and_forth(steps: Steps) -> None:
    assert steps.possible("s") == (False, False)
    push(steps, 1)
    push(steps, 2)
    last = steps.last("s", undone=False)
    assert last is not None and (last.what, last.before, last.after) == ("step 2", b"before", b"after 2")
    steps.mark(last, undone=True)
    assert steps.possible("s") == (True, True)
    again = steps.last("s", undone=True)
    assert again is not None and again.what == "step 2"
    push(steps, 3)
    assert steps.possible("s") == (True, False)
    assert steps.last("s", undone=True) is None
    assert steps.possible("other") == (False, False)


def test_no_change_is_no_step_and_old_ones_go(steps: Steps) -> None:
    steps.push("s", ("value", "v"), "nothing", (b"same", b"same"))
    assert steps.possible("s") == (False, False)
    for number in range(5):
        push(steps, number)
    seen = []
    while (step := steps.last("s", undone=False)) is not None:
        seen.append(step.what)
        steps.mark(step, undone=True)
    assert seen == ["step 4", "step 3", "step 2"]
