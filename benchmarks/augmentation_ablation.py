"""What each augmentation of pretraining is worth: short runs without labels, each with one thing taken away or added.

    python benchmarks/augmentation_ablation.py --out runs/augmentation [--steps 300] [--seeds 2] [--only full no-blur]

Every arm runs the recipe ``pretrain_tiny_phantom`` from the same fresh weights on the same simulated frames, and
differs in one augmentation of its crops. Judged are features of whole frames of patients that no run learns from, by
the views that they show: nearest neighbours and a linear probe, beside the effective rank of the features.

A run that was interrupted goes on by the same command, those that are done are not repeated. Writes
``augmentation_ablation.json`` and ``.md``; the interval is 95 % of the mean over the seeds (Student's t).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from echoapex.cli.recipe_run import summarise
from echoapex.config import ConfigError
from echoapex.data.crops import CROP_APPEARANCE
from echoapex.recipes.runner import Reporting, finetune
from echoapex.train.checkpoint import CheckpointError

RECIPE = "pretrain_tiny_phantom"
SCORES = {
    "knn_view_accuracy": "k-NN views",
    "linear_view_accuracy": "linear views",
    "effective_rank": "effective rank",
}


def appearance_without(*names: str) -> dict[str, Any]:
    """The appearance of crops with some strengths at zero."""
    return {"appearance": {**CROP_APPEARANCE.model_dump(), **dict.fromkeys(names, 0.0)}}


ARMS: dict[str, dict[str, Any]] = {
    "full": {},
    "no-grey-curve": appearance_without("gamma", "gain", "contrast"),
    "no-depth-gain": appearance_without("depth_gain"),
    "no-lateral-gain": appearance_without("lateral_gain"),
    "no-shadow": appearance_without("shadow_probability"),
    "no-haze": appearance_without("haze"),
    "no-noise": appearance_without("noise"),
    "no-resampling": appearance_without("resample_probability"),
    "no-beam": {"beam_probability": 0.0},
    "no-appearance": {
        "beam_probability": 0.0,
        **appearance_without(
            "gamma", "gain", "contrast", "depth_gain", "lateral_gain", "shadow_probability", "haze", "noise",
            "resample_probability",
        ),
    },
    "any-window": {"sector_share": 0.0},
    "flip": {"flip_probability": 0.5},
}  # fmt: skip
"""What each arm changes of the recipe's crops."""


def run_arm(crops: Mapping[str, Any], steps: int, seed: int, out: Path) -> dict[str, float]:
    """The scores of one arm with one seed."""
    overrides = {
        "task": {"frames": {"crops": dict(crops), "seed": seed}},
        "train": {"steps": steps, "score_every": steps, "checkpoint_every": steps, "seed": seed},
    }
    sys.stderr.write(f"{out}\n")
    reporting = Reporting(lambda what, done, total: sys.stderr.write(f"{what}: {done} of {total}\n"))
    return finetune(RECIPE, overrides, out, reporting=reporting, prepared=out.parents[1])


def write_table(results: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """A Markdown table: arms down, scores across, each with its interval over the seeds."""
    lines = [f"| arm | {' | '.join(SCORES.values())} |", "|---" * (len(SCORES) + 1) + "|"]
    for arm, of_seeds in results.items():
        cells = []
        for name in SCORES:
            mean, half = summarise([scores[name] for scores in of_seeds])
            cells.append(f"{mean:.3f} ± {half:.3f}")
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=list(ARMS), default=list(ARMS), help="some of the arms")
    chosen = parser.parse_args(arguments)
    if chosen.seeds < 2:
        parser.error("--seeds: an interval needs 2 or more")
    results: dict[str, list[dict[str, float]]] = {arm: [] for arm in chosen.only}
    try:
        for seed in range(chosen.seeds):  # all arms with one seed first: an interrupted study compares them all
            for arm in chosen.only:
                results[arm].append(run_arm(ARMS[arm], chosen.steps, seed, chosen.out / f"{arm}-seed-{seed}"))
    except (CheckpointError, ConfigError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    table = write_table(results)
    (chosen.out / "augmentation_ablation.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    (chosen.out / "augmentation_ablation.md").write_text(table, encoding="utf-8")
    sys.stdout.write(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
