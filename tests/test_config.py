"""Recipes and overrides: what is right is read as meant, and every mistake is one readable line."""

import tempfile
from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from echoapex.config import Config, ConfigError, build_config, merge, parse_overrides, read_recipe


class Optimiser(Config):
    lr: float = Field(default=1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.98)


class Run(Config):
    steps: int = Field(ge=1)
    named: dict[str, Optimiser] = Field(default_factory=dict)
    listed: tuple[Optimiser, ...] = ()
    optional: Optimiser | None = None
    name: str = "run"
    precision: Literal["fp32", "bf16"] = "fp32"
    optimiser: Optimiser = Optimiser()

    @model_validator(mode="after")
    def _short_names_only(self) -> "Run":
        if len(self.name) > self.steps:
            raise ValueError("the name is longer than the run")
        return self


keys = st.text("abc", min_size=1, max_size=3)
values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text("xyz", max_size=4))
sections = st.recursive(st.dictionaries(keys, values), lambda inner: st.dictionaries(keys, inner), max_leaves=10)


def mistakes(**values: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        build_config(Run, values, "run.yaml")
    return str(caught.value).splitlines()


def test_a_configuration_cannot_be_changed() -> None:
    run = build_config(Run, {"steps": 10})
    with pytest.raises(ValidationError, match="frozen"):
        run.steps = 20


def test_a_misspelt_key_is_one_line_with_the_likely_one() -> None:
    assert mistakes(steps=10, presicion="bf16") == ["run.yaml: presicion: unknown key; did you mean 'precision'?"]
    assert mistakes(steps=10, optimiser={"l": 1.0}) == ["run.yaml: optimiser.l: unknown key; did you mean 'lr'?"]


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ({"named": {"slow": {"betas_": 1}}}, "named.slow.betas_"),
        ({"listed": [{}, {"beta": 1}]}, "listed.1.beta"),
        ({"optional": {"Betas": 1}}, "optional.Betas"),
    ],
)
def test_the_likely_key_is_found_in_sections_of_sections(section: dict, path: str) -> None:
    assert mistakes(steps=10, **section) == [f"run.yaml: {path}: unknown key; did you mean 'betas'?"]


def test_a_key_that_is_like_no_other_names_all_known_ones() -> None:
    (line,) = mistakes(steps=10, optimiser={"momentum": 0.9})
    assert line == "run.yaml: optimiser.momentum: unknown key; known keys: betas, lr"


def test_every_mistake_has_its_line() -> None:
    lines = mistakes(name=3, precision="fp8", optimiser={"lr": -1.0, "betas": [0.9]})
    assert len(lines) == 5
    assert "run.yaml: steps: is required" in lines
    assert any(line.startswith("run.yaml: optimiser.lr:") and line.endswith("(got -1.0)") for line in lines)
    assert any("betas.1" in line for line in lines)
    assert any("precision" in line and "'fp32' or 'bf16'" in line for line in lines)


def test_a_section_that_contradicts_itself_is_named_without_its_contents() -> None:
    assert mistakes(steps=3, name="a long name") == ["run.yaml: the name is longer than the run"]


@given(st.sampled_from([0, -1, 3.5, "many", None, [1]]))
def test_a_bad_number_of_steps_is_refused(steps: object) -> None:
    (line,) = mistakes(steps=steps)
    assert line.startswith("run.yaml: steps: ")
    assert line.endswith(f"(got {steps!r})")


def test_overrides_are_written_in_two_ways() -> None:
    assert parse_overrides(["--optim.lr", "3e-4", "--seed=7"]) == {"optim": {"lr": 3e-4}, "seed": 7}
    assert parse_overrides(["--a.b.c=[1, 2]", "--a.b.d", "x=y", "--a.e=true", "--f=null"]) == {
        "a": {"b": {"c": [1, 2], "d": "x=y"}, "e": True},
        "f": None,
    }
    assert parse_overrides([]) == {}


def test_a_negative_number_is_a_value() -> None:
    assert parse_overrides(["--shift", "-3", "--scale=-1e-3"]) == {"shift": -3, "scale": -1e-3}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lr=3"], "'lr=3': an override is written --section.key value"),
        (["--lr"], "--lr: has no value"),
        (["--optim=3", "--optim.lr=4"], "'optim' was given a value and cannot also be a section"),
        (["--views=[A4C"], "--views: '[A4C' is not valid YAML"),
    ],
)
def test_an_override_that_cannot_be_read_is_one_line(arguments: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_overrides(arguments)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=25, deadline=None)
@given(sections, sections)
def test_merging_keeps_what_is_not_overridden(base: dict, over: dict) -> None:
    before = repr((base, over))
    merged = merge(base, over)
    assert repr((base, over)) == before, "neither is changed"
    assert set(merged) == set(base) | set(over)
    assert merge(merged, over) == merged
    for key, value in over.items():
        if not (isinstance(value, dict) and isinstance(base.get(key), dict)):
            assert merged[key] == value
    assert all(merged[key] == value for key, value in base.items() if key not in over)


def test_sections_merge_key_by_key() -> None:
    base = {"optim": {"lr": 1.0, "betas": [0.9, 0.99]}, "seed": 0}
    assert merge(base, {"optim": {"lr": 2.0}}) == {"optim": {"lr": 2.0, "betas": [0.9, 0.99]}, "seed": 0}
    assert merge(base, {"optim": 3})["optim"] == 3


@settings(max_examples=25, deadline=None)
@given(sections)
def test_a_recipe_is_read_as_it_was_written(section: dict) -> None:
    # a folder of its own for every example, as fixtures are shared between them
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(yaml.safe_dump({"section": section}), encoding="utf-8")
        assert read_recipe(path) == {"section": section}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: [1", "is not valid YAML"),
        ("a: \x00", "is not valid YAML"),
        ("- 1\n- 2\n", "a mapping of sections, not list"),
        ("", "a mapping of sections, not NoneType"),
        ("!!python/object/apply:os.getcwd []", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_line(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=words) as caught:
        read_recipe(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_or_one_that_is_not_text_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.yaml: cannot be read .*check the path"):
        read_recipe(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9t\xe9\n")
    with pytest.raises(ConfigError, match=r"latin.yaml: is not text in UTF-8"):
        read_recipe(tmp_path / "latin.yaml")
