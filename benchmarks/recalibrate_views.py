"""The temperature of a trained set's views, fitted anew over all held-back frames of its recipe together.

    python benchmarks/recalibrate_views.py SET --recipe phantom_outlines [--workspace runs] [--workers 1] [--write]

For sets whose views are read from tokens and outlines (recipes of the kind ``view_from_masks``). Held-back clips are
drawn where they are missing below the workspace, and outlined by the set; then its figures are computed as the recipe
would, and printed. With ``--write`` the card of the set's view classification takes them over; as everywhere, simulated
validation may make probabilities less sure, but never surer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from figures_file import tell_figures

from echoapex.config import build_config, merge, read_recipe
from echoapex.models.bundle import load_bundle, update_card
from echoapex.models.decoders.linear import ViewFromMasksConfig, ViewFromMasksDecoder
from echoapex.models.registry import find_set
from echoapex.models.weights_file import load_weights
from echoapex.recipes.recipe import Workspace
from echoapex.recipes.runner import build_recipe, find_recipe
from echoapex.recipes.view_from_masks import ViewFromMasksRecipe, ViewFromMasksTask
from echoapex.tasks.view_classification import split_view_branches
from echoapex.vocabulary import Application

VIEWS = Application.VIEW_CLASSIFICATION.value


def recalibrate(recipe: ViewFromMasksRecipe, workspace: Workspace) -> dict[str, float]:
    """Validation figures of the set that the recipe starts from, with the outlines that it already reads."""
    bundle = load_bundle(find_set(recipe.start).bundles[VIEWS])
    section = bundle.card.architecture["outlines"]
    assert isinstance(section, dict)
    decoder = ViewFromMasksDecoder.build(build_config(ViewFromMasksConfig, section, f"{bundle.directory}: outlines"))
    load_weights(decoder, split_view_branches(bundle.state)[1], bundle.directory)
    task, judging = ViewFromMasksTask(decoder).eval(), recipe.judging(workspace)
    found = [task.cases(judging.batch(number)) for number in range(len(judging))]
    figures = task.summarise({name: torch.cat([each[name] for each in found]) for name in found[0]})
    return {name: round(value, 5) for name, value in figures.items()}


def write(place: Path, figures: dict[str, float]) -> None:
    """Let the card say what was found."""
    card = load_bundle(place).card
    metrics: dict[str, Any] = {f"validation/{name}": value for name, value in figures.items()}
    temperature = round(max(1.0, figures["view_temperature"]), 3)
    update_card(
        place, calibration={**card.calibration, "temperature": temperature}, metrics={**card.metrics, **metrics}
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", help="name or folder of a set")
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args(arguments)
    path = find_recipe(chosen.recipe)
    recipe = build_recipe(merge(read_recipe(path), {"task": {"start": chosen.set}}), path.name).task
    assert isinstance(recipe, ViewFromMasksRecipe), "a recipe of the kind view_from_masks"
    told = Workspace(chosen.workspace, chosen.workers, lambda *what: print(*what, file=sys.stderr))
    figures = recalibrate(recipe, told)
    tell_figures(figures, None)
    if chosen.write:
        write(find_set(chosen.set).bundles[VIEWS], figures)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
