"""``echoapex finetune``: train decoders or encoders by a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from echoapex.cli.console import examples
from echoapex.cli.recipe_run import Invocation, run_recipe, run_seeds

app = App(
    name="finetune",
    help="Train decoders or encoders by a recipe. Research software, not a medical device.",
    help_epilogue=examples(
        "echoapex finetune phantom_multitask --out runs/phantom_multitask",
        "echoapex finetune dataset_views --dataset folder --root clips/ --setting lora --out runs/views",
    ),
)


@app.default
def finetune_by_recipe(  # noqa: PLR0913  (the options of one verb)
    recipe: str,
    *overrides: Annotated[str, Parameter(allow_leading_hyphen=True)],
    out: Path,
    setting: str | None = None,
    dataset: str | None = None,
    root: Path | None = None,
    seeds: int = 1,
    workers: int = 1,
    quiet: bool = False,
) -> int:
    """Train by a recipe; run the same command again to resume after an interruption.

    Args:
        recipe: Name of a recipe that ships with EchoApex, or a .yaml file.
        overrides: ``--section.key value`` pairs that replace values of the recipe; an unknown key is an error.
            `echoapex recipes keys` lists the keys.
        out: Directory of the run: checkpoint, journal.jsonl, effort.json and, at the end, bundles/.
        setting: What of the encoder learns: full, frozen, adapter, lora or bitfit; and from how much: few-shot:20
            (clips) or few-shot:5%. Two of them with a comma: lora,few-shot:20.
        dataset: Name of the data set that the recipe reads; ``echoapex datasets`` lists the names.
        root: Folder of that data set.
        seeds: Repeat the run with seeds 0 to N - 1, each in its own folder below OUT. OUT/seeds.json sums up.
        workers: Processes that prepare data.
        quiet: Show results and warnings only.
    """
    typed = Invocation("finetune", recipe, overrides, setting=setting, dataset=dataset, root=root)
    return run_recipe(typed, out, workers, quiet) if seeds == 1 else run_seeds(typed, out, seeds, workers, quiet)
