"""``echoapex finetune``: train decoders or encoders by a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from echoapex.cli.recipe_run import Invocation, run_recipe

app = App(name="finetune", help="Train decoders or encoders by a recipe. Research software, not a medical device.")


@app.default
def finetune_by_recipe(
    recipe: str,
    *overrides: Annotated[str, Parameter(allow_leading_hyphen=True)],
    out: Path,
    workers: int = 1,
    quiet: bool = False,
) -> int:
    """Train by a recipe; run the same command again to resume after an interruption.

    Args:
        recipe: Name of a recipe that ships with EchoApex, or a .yaml file.
        overrides: ``--section.key value`` pairs that replace values of the recipe; an unknown key is an error.
        out: Directory of the run: checkpoint, journal.jsonl and, at the end, bundles/.
        workers: Processes that prepare data.
        quiet: No progress.
    """
    return run_recipe(Invocation("finetune", recipe, overrides), out, workers, quiet)
