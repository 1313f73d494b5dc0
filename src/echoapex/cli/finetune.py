"""``echoapex finetune``: train decoders or encoders by a recipe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from echoapex.cli.exit_codes import ExitCode
from echoapex.config import ConfigError, parse_overrides
from echoapex.data.datasets.camus import CamusError
from echoapex.models.bundle import BundleError
from echoapex.models.weights_file import WeightsError
from echoapex.phantom import PhantomError
from echoapex.tasks.task import Loss
from echoapex.train.checkpoint import CheckpointError
from echoapex.train.finetune import Reporting, finetune
from echoapex.train.loop import NonFiniteLossError

app = App(name="finetune", help="Train decoders or encoders by a recipe. Research software, not a medical device.")


@app.default
def run_recipe(
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
    reporting = Reporting() if quiet else Reporting(_prepared, _stepped)
    try:
        scores = finetune(recipe, parse_overrides(overrides), out, workers, reporting)
    except (ConfigError, CheckpointError, BundleError, WeightsError, CamusError, PhantomError) as error:
        sys.stderr.write(f"echoapex finetune: {error}\n")
        return ExitCode.USAGE
    except NonFiniteLossError as error:
        sys.stderr.write(f"echoapex finetune: {error}\n")
        return ExitCode.NOTHING_ANALYSED
    for name, value in sorted(scores.items()):
        sys.stdout.write(f"{name}\t{value:.4f}\n")
    return ExitCode.ALL_GOOD


def _prepared(what: str, done: int, total: int) -> None:
    sys.stderr.write(f"{what}: {done} of {total}\n")


def _stepped(step: int, steps: int, loss: Loss) -> None:
    if step % 10 == 0:
        terms = "  ".join(f"{name} {float(value):.4f}" for name, value in loss.terms.items())
        sys.stderr.write(f"step {step} of {steps}  loss {float(loss.total.detach()):.4f}  {terms}\n")
