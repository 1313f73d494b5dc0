"""How far few labels carry an encoder that learns too: the whole network fine-tuned, by share of the labels.

    python benchmarks/finetuned_labels.py --start random --start pretrained=runs/pretrain_tiny_phantom/bundles/encoder \
        --out runs/labels [--shares 1 5 10 50 100] [--seeds 3] [--recipe label_efficiency]

Every start runs the recipe with every share of the labelled clips and every seed, for equally many steps, on the same
clips. A seed chooses the clips and the order of the batches. Judged are simulated patients of the recipe's validation,
whom no run learns from, by the network as it is after the last step. ``label_efficiency.py`` asks the same of frozen
encoders.

- ``views``: one frame to one of 18 views; share of right ones.
- ``segmentation``: Dice of the LV cavity, the structure asked for by name.
- ``lv_wall``: mean distance of the four end points on PLAX, pixels of the model's image.
- ``volume_change``: error of the logarithm of the LV volume's ratio between two frames of a clip (smooth below 0.1),
  which an ejection fraction is made of.

A run that was interrupted goes on by the same command, those that are done are not repeated. Writes
``finetuned_labels.json``, ``.md`` and, where matplotlib is installed, ``.png``; intervals are 95 % of the mean over the
seeds (Student's t).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from label_efficiency_page import Results, draw_picture, write_table

from echoapex.cli.recipe_run import summarise
from echoapex.config import ConfigError, read_recipe
from echoapex.models.bundle import BundleError, read_card
from echoapex.models.weights_file import WeightsError
from echoapex.recipes.multitask import MultiTaskRecipe
from echoapex.recipes.runner import Reporting, build_recipe, find_recipe, finetune
from echoapex.train.checkpoint import CheckpointError

SCORES = {
    "views": ("view_frame_accuracy", "frames called right"),
    "segmentation": ("dice_lv_cavity", "Dice, LV cavity"),
    "lv_wall": ("wall_point_px", "end point error (px)"),
    "volume_change": ("volume_change_error", "log volume ratio error"),
}
"""Of each task the score of the run that tells of it, and its unit."""
_ERRORS = ("lv_wall", "volume_change")


def parse_start(text: str, random: Sequence[str] = ("random",)) -> tuple[str, Path | None]:
    """The name of a random start, or ``NAME=BUNDLE`` with an encoder bundle.

    Args:
        text: as it was typed.
        random: names that stand for fresh weights.

    Raises:
        BundleError: the bundle is missing or damaged, or the text is neither.
    """
    name, _, directory = text.partition("=")
    if directory:
        read_card(Path(directory))
        return name, Path(directory)
    if name not in random:
        raise BundleError(f"--start {text}: give {', '.join(random)} or NAME=DIRECTORY")
    return name, None


def count_clips(recipe: str) -> int:
    """Labelled clips that a recipe draws.

    Raises:
        ConfigError: there is no such recipe, it has a mistake, or it is of another kind.
    """
    path = find_recipe(recipe)
    task = build_recipe(read_recipe(path), path.name).task
    if not isinstance(task, MultiTaskRecipe):
        raise ConfigError(f"{path.name}: not a recipe of kind multitask; give one that is")
    return sum(len(store.clips()) for store in task.stores.values())


def run_arm(recipe: str, start: Path | None, share: int, seed: int, out: Path) -> dict[str, float]:
    """The scores of one start with one share of the labels (percent) and one seed."""
    task: dict[str, object] = {"few_shot": {"percent": share, "seed": seed}, "frames": {"seed": seed}}
    if start is not None:
        task["encoder_bundle"] = str(start)
    sys.stderr.write(f"{out}\n")
    reporting = Reporting(lambda what, done, total: sys.stderr.write(f"{what}: {done} of {total}\n"))
    overrides = {"task": task, "train": {"seed": seed}}
    return finetune(recipe, overrides, out, reporting=reporting, prepared=out.parents[2])


def sum_up(
    scores: Mapping[int, Sequence[Mapping[str, float]]], total: int, names: Mapping[str, str]
) -> dict[str, list[dict[str, float]]]:
    """Mean and interval over the seeds, for every task and number of labelled cases.

    Args:
        scores: those of every seed, by the number of labelled cases.
        total: labelled cases that there are.
        names: of each task the score that tells of it.
    """
    rows: dict[str, list[dict[str, float]]] = {task: [] for task in names}
    for labelled, of_seeds in scores.items():
        for task, name in names.items():
            mean, half = summarise([each[name] for each in of_seeds])
            row = {"share": labelled / total, "patients": labelled}
            rows[task].append({**row, "score": mean, "low": mean - half, "high": mean + half})
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", action="append", required=True, help="random or NAME=BUNDLE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shares", type=int, nargs="+", default=[1, 5, 10, 50, 100], help="percent of the clips")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", default="label_efficiency")
    chosen = parser.parse_args(arguments)
    if chosen.seeds < 2:
        parser.error("--seeds: an interval needs 2 or more")
    results: Results = {}
    try:
        starts = dict(parse_start(text) for text in chosen.start)
        clips = count_clips(chosen.recipe)
        for name, start in starts.items():
            scores = {
                max(1, clips * share // 100): [
                    run_arm(chosen.recipe, start, share, seed, chosen.out / name / f"{share}-percent-seed-{seed}")
                    for seed in range(chosen.seeds)
                ]
                for share in chosen.shares
            }
            results[name] = sum_up(scores, clips, {task: score for task, (score, _) in SCORES.items()})
    except (BundleError, CheckpointError, ConfigError, WeightsError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    (chosen.out / "finetuned_labels.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    units = {task: unit for task, (_, unit) in SCORES.items()}
    table = write_table(results, units)
    (chosen.out / "finetuned_labels.md").write_text(table, encoding="utf-8")
    sys.stdout.write(table)
    try:
        draw_picture(results, chosen.out / "finetuned_labels.png", units, _ERRORS, "labelled clips")
    except ModuleNotFoundError:
        sys.stderr.write("matplotlib is not installed; no picture\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
