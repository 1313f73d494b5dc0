"""``echoapex recipes``: what can be trained, what each recipe says, and which keys it may have."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated, NamedTuple

from cyclopts import App, Parameter
from rich.markup import escape
from rich.table import Table

from echoapex.cli.console import ExitCode, PipedConsole, complain, examples
from echoapex.config import ConfigError
from echoapex.recipes.catalogue import RecipeKey, ShippedRecipe, recipe_keys, shipped_recipes
from echoapex.recipes.runner import find_recipe

app = App(
    name="recipes",
    help="List the recipes of training, show one, and list the keys that it may have.",
    help_epilogue=examples("echoapex recipes list", "echoapex recipes keys phantom_multitask"),
)

AsJson = Annotated[bool, Parameter(name="--json", negative=())]


@app.default
@app.command(name="list")
def show_recipes(*, as_json: AsJson = False) -> int:
    """List the recipes: what each trains, on which data, from which weights, under which licence.

    Args:
        as_json: print them as JSON.
    """
    _write(ShippedRecipe._fields, shipped_recipes(), as_json)
    return ExitCode.ALL_GOOD


@app.command(name="show")
def show_recipe(name: str) -> int:
    """Print a recipe as it stands, with its comments. Copy it to a .yaml file to make one of your own.

    Args:
        name: a recipe of `echoapex recipes list`, or a .yaml file.
    """
    try:
        sys.stdout.write(find_recipe(name).read_text(encoding="utf-8"))
    except ConfigError as error:
        complain("recipes", str(error))
        return ExitCode.USAGE
    except (OSError, UnicodeDecodeError) as error:
        complain("recipes", f"{name}: cannot be read ({error}); check the path")
        return ExitCode.USAGE
    return ExitCode.ALL_GOOD


@app.command(name="keys")
def show_keys(name: str, *, as_json: AsJson = False) -> int:
    """List every key that a recipe may have: name, type, default, meaning.

    Each can be set in a .yaml file, or typed as `--NAME VALUE` after the recipe.

    Args:
        name: a recipe of `echoapex recipes list`, a .yaml file, or a kind of task.
        as_json: print them as JSON.
    """
    try:
        _write(RecipeKey._fields, recipe_keys(name), as_json)
    except ConfigError as error:
        complain("recipes", str(error))
        return ExitCode.USAGE
    return ExitCode.ALL_GOOD


def _write(columns: Sequence[str], rows: Sequence[NamedTuple], as_json: bool) -> None:
    """A table on a terminal; tab-separated lines where another program reads."""
    console = PipedConsole()
    if as_json:
        sys.stdout.write(json.dumps([row._asdict() for row in rows], indent=2, ensure_ascii=False) + "\n")
    elif not console.is_terminal:
        sys.stdout.writelines("\t".join(map(str, row)) + "\n" for row in rows)
    else:
        table = Table(*columns, box=None, pad_edge=False, header_style="dim")
        table.columns[0].overflow = "fold"
        for row in rows:
            table.add_row(*(escape(str(cell)) for cell in row))
        console.print(table)
