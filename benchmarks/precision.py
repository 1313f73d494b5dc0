"""What a step of pretraining costs in fp32 and in bf16 on this machine, and what ``precision: auto`` chooses here.

    python benchmarks/precision.py [--batch 4] [--rounds 3] [--threads 1] [--out FILE]

A ViT-Ti/16 with the crops and heads of ``pretrain_tiny_cpu``, on random frames: loss, gradients, update. Both take
turns, so that a busy machine is unfair to none; given are seconds, medians over the rounds. A processor without
AVX512-BF16 and AMX can be imitated on one that has them: set ONEDNN_MAX_CPU_ISA=AVX2 in the environment.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from figures_file import tell_figures

from echoapex.config import read_recipe
from echoapex.data.batch import CropBatch
from echoapex.models.precision import choose_precision, measure_bf16_speed
from echoapex.recipes.pretrain import PretrainRecipe
from echoapex.recipes.runner import build_recipe, find_recipe
from echoapex.train.distributed import Processes
from echoapex.train.optim import GradientRules, Gradients, OptimConfig, build_optimizer

PRECISIONS = ("fp32", "bf16")


def measure(batch: int, rounds: int, threads: int = 1) -> dict[str, Any]:
    """Seconds of a step in either precision, their ratio, and what is chosen on this machine."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    name = "pretrain_tiny_cpu"
    recipe = build_recipe(read_recipe(find_recipe(name)), name).for_its_length().task
    assert isinstance(recipe, PretrainRecipe)
    task, optim = recipe.build_task().train(), OptimConfig()
    optimizer = build_optimizer(task, optim)
    sides = {
        each: Gradients(task, optimizer, GradientRules(1, choose_precision(each), optim.clip_norm), Processes())
        for each in PRECISIONS
    }
    frames = random_crops(recipe, batch)
    taken: dict[str, list[float]] = {each: [] for each in PRECISIONS}
    for count in range(rounds + 1):
        for each, gradients in sides.items():
            began = time.perf_counter()
            gradients.compute(frames)
            optimizer.step()
            if count:  # the first round warms up
                taken[each].append(time.perf_counter() - began)
    seconds = {each: statistics.median(values) for each, values in taken.items()}
    chosen = choose_precision("auto")
    return {
        "machine": f"{platform.machine()}, {torch.cpu.get_capabilities().get('cpu_name', '')}",
        "limited_to": os.environ.get("ONEDNN_MAX_CPU_ISA"),
        "threads": threads,
        "step_s": {each: round(value, 3) for each, value in seconds.items()},
        "speed_of_bf16_over_fp32": round(seconds["fp32"] / seconds["bf16"], 3),
        "speed_of_one_product": round(measure_bf16_speed("cpu"), 3),
        "auto": chosen.name,
        "because": chosen.reason,
    }


def random_crops(recipe: PretrainRecipe, batch: int) -> CropBatch:
    """Crops of noise, of the recipe's sizes; a third of the patches is masked."""
    crops, patch = recipe.frames.crops, recipe.encoder.patch_size
    large, small = (
        torch.randint(0, 256, (kind.count, batch, kind.side, kind.side), dtype=torch.uint8)
        for kind in (crops.global_crops, crops.local_crops)
    )
    patches = (crops.global_crops.side // patch) ** 2
    return CropBatch(large, small, torch.rand(len(large), batch, patches) < 1 / 3, torch.arange(batch))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    chosen = parser.parse_args(arguments)
    tell_figures(measure(chosen.batch, chosen.rounds, chosen.threads), chosen.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
