"""A kind of recipe is registered under the name that its own section says."""

import pytest

from echoapex.tasks.kinds import TASK_KINDS
from echoapex.tasks.recipe import TaskRecipe


@pytest.mark.parametrize("name", TASK_KINDS)
def test_a_kind_says_its_own_name_and_keeps_the_contract(name: str) -> None:
    kind = TASK_KINDS[name]
    assert kind.model_fields["kind"].default == name
    assert issubclass(kind, TaskRecipe)
    assert kind.build is not TaskRecipe.build
    assert kind.export is not TaskRecipe.export
