"""The ablation of augmentations: every arm changes what it says and nothing else, and its table tells the scores."""

from pathlib import Path

import pytest
from augmentation_ablation import ARMS, RECIPE, SCORES, main, write_table

from echoapex.config import merge, read_recipe
from echoapex.recipes.pretrain import PretrainRecipe
from echoapex.recipes.runner import build_recipe, find_recipe


def crops_of(arm: str) -> dict:
    path = find_recipe(RECIPE)
    task = build_recipe(merge(read_recipe(path), {"task": {"frames": {"crops": ARMS[arm]}}}), path.name).task
    assert isinstance(task, PretrainRecipe)
    return task.frames.crops.model_dump()


def flat(values: dict, prefix: str = "") -> dict:
    parts: dict = {}
    for name, value in values.items():
        parts |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return parts


def test_the_full_arm_is_the_recipe() -> None:
    path = find_recipe(RECIPE)
    assert crops_of("full") == build_recipe(read_recipe(path), path.name).task.frames.crops.model_dump()


@pytest.mark.parametrize(
    ("arm", "changed"),
    [
        ("no-grey-curve", {"appearance.gamma", "appearance.gain", "appearance.contrast"}),
        ("no-beam", {"beam_probability"}),
        ("any-window", {"sector_share"}),
        ("flip", {"flip_probability"}),
        ("no-shadow", {"appearance.shadow_probability"}),
    ],
)
def test_an_arm_changes_what_it_names(arm: str, changed: set[str]) -> None:
    full, other = flat(crops_of("full")), flat(crops_of(arm))
    assert {name for name in full if full[name] != other[name]} == changed


def test_every_arm_but_the_full_one_changes_something() -> None:
    assert [arm for arm in ARMS if crops_of(arm) == crops_of("full")] == ["full"]


def test_the_table_tells_mean_and_interval() -> None:
    scores = [dict.fromkeys(SCORES, value) for value in (0.4, 0.6)]
    assert write_table({"full": scores}).splitlines()[-1].startswith("| full | 0.500 ± 1.271 |")


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path / "out"), "--seeds", "1"])
    assert not (tmp_path / "out").exists()
