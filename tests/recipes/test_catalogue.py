"""The catalogue is read from recipes and models: every recipe is described, and every key is one that is accepted."""

from pathlib import Path
from typing import Any

import pytest
from tiny_recipes import RECIPE_FOLDER, RECIPES

from echoapex.config import Config, ConfigError, read_recipe
from echoapex.recipes.catalogue import REQUIRED, recipe_keys, shipped_recipes
from echoapex.recipes.runner import TASK_KINDS, build_recipe


def test_every_recipe_is_described_in_a_line() -> None:
    found = shipped_recipes()
    assert [recipe.name for recipe in found] == RECIPES
    for recipe in found:
        assert all(recipe), recipe
        assert "\n" not in recipe.purpose
        assert len(recipe.purpose) <= 160
    by_name = {recipe.name: recipe for recipe in found}
    assert by_name["phantom_multitask"][3:] == ("simulated clips", "fresh weights", "Apache-2.0")
    assert by_name["camus_segmentation"].data == "camus (--dataset, --root)"
    assert by_name["camus_segmentation"].start.endswith("phantom/segmentation")
    assert by_name["research_joint"].licence == "CC-BY-NC-SA-4.0 (non-commercial)"
    assert by_name["research_joint"].data == "simulated clips, camus, folder"
    assert by_name["dataset_views"].start == "phantom"
    assert by_name["pretrain_small"].data == "a frame store of echoapex ingest"


def leaves(values: Any, prefix: str) -> list[str]:
    if not isinstance(values, dict):
        return [prefix]
    return [name for key, value in values.items() for name in leaves(value, f"{prefix}.{key}")]


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_recipe_sets_is_among_its_keys(name: str) -> None:
    sections = read_recipe(RECIPE_FOLDER / f"{name}.yaml")
    known = {key.name for key in recipe_keys(name)}
    for section in ("task", "train", "provenance"):
        for leaf in leaves(sections[section], section):
            assert is_known(leaf.split("."), known), leaf


def is_known(words: list[str], known: set[str]) -> bool:
    """A key, an entry of a mapping, or a key of a section that has a name of its own (``stores.views.patients``)."""
    for end in range(len(words), 1, -1):
        head = words[:end]
        spelt = [".".join(head)] + [".".join([*head[:i], "NAME", *head[i + 1 :]]) for i in range(2, len(head))]
        if any(each in known for each in spelt):
            return True
    return False


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_every_field_of_the_models_is_listed_with_its_default(kind: str) -> None:
    keys = {key.name: key for key in recipe_keys(kind)}
    for name, field in TASK_KINDS[kind].model_fields.items():
        key = keys[f"task.{name}"]
        assert key.type
        assert (key.default == REQUIRED) is field.is_required()
    assert keys["train.optim.lr"].default == "0.001"
    assert keys["train.optim.lr"].type == "number, > 0"
    assert keys["train.precision"].description.startswith("``auto``: bf16 where the machine")
    assert keys["provenance.licence"].default == "Apache-2.0"


def test_a_section_has_the_defaults_of_its_place() -> None:
    frozen = {key.name: key.default for key in recipe_keys("dataset_ejection_fraction")}
    full = {key.name: key.default for key in recipe_keys("multitask")}
    assert (frozen["task.setting.name"], full["task.setting.name"]) == ("frozen", "full")
    assert "task.stores.NAME.patients" in full
    assert full["task.stores.NAME.patients"] == REQUIRED


def test_a_file_of_ones_own_and_an_unknown_name(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("task: {kind: pretrain}\n")
    assert recipe_keys(str(own)) == recipe_keys("pretrain")
    own.write_text("task: {kind: miracle}\n")
    with pytest.raises(ConfigError, match=r"own\.yaml: task\.kind must be one of"):
        recipe_keys(str(own))
    with pytest.raises(ConfigError, match=r"no such recipe; .*or a kind of task: camus_segmentation, joint"):
        recipe_keys("nosuch")


def test_listed_defaults_are_those_that_the_runner_fills_in() -> None:
    recipe = build_recipe(read_recipe(RECIPE_FOLDER / "phantom_multitask.yaml"), "phantom_multitask")
    keys = {key.name: key for key in recipe_keys("phantom_multitask")}
    assert isinstance(recipe.train, Config)
    assert keys["train.log_every"].default == str(recipe.train.log_every)
    assert keys["train.guard.patience"].default == str(recipe.train.guard.patience)
