"""``echoapex pretrain``: train an encoder on frames without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from echoapex.cli.console import examples
from echoapex.cli.recipe_run import Invocation, run_recipe

app = App(
    name="pretrain",
    help="Pretrain an encoder without labels. Research software, not a medical device.",
    help_epilogue=examples(
        "echoapex pretrain pretrain_tiny_cpu --out runs/pretrain_tiny_cpu",
        "echoapex pretrain pretrain_tiny_cpu --train.steps 600 --out runs/longer",
    ),
)


@app.default
def pretrain_by_recipe(
    recipe: str,
    *overrides: Annotated[str, Parameter(allow_leading_hyphen=True)],
    out: Path,
    workers: int = 1,
    quiet: bool = False,
) -> int:
    """Pretrain by a recipe; run the same command again to resume after an interruption.

    Args:
        recipe: Name of a recipe that ships with EchoApex, or a .yaml file; its task is of the kind ``pretrain``.
        overrides: ``--section.key value`` pairs that replace values of the recipe; an unknown key is an error.
            `echoapex recipes keys` lists the keys.
        out: Directory of the run: checkpoint, journal.jsonl and, at the end, bundles/encoder.
        workers: Processes that draw phantom clips.
        quiet: Show results and warnings only.
    """
    return run_recipe(Invocation("pretrain", recipe, overrides, kind="pretrain"), out, workers, quiet)
