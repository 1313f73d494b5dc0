"""What pretraining on an archive would take: GPU hours, wall time, money, storage, loader cores. A plan only.

    python benchmarks/plan_pretraining.py [--frames 20000000] [--price 1.5 2.5 4.0] [--out FOLDER]

Measured here, in this run: bytes of a frame in a store that ``echoapex ingest`` wrote of phantom studies, and crops a
second and core of the loader. Counted: floating point operations of a step, by ``torch.utils.flop_counter`` on the
very encoders and heads of the recipes. Published: peak rates of the GPUs, dense bf16, from NVIDIA's data sheets.
Assumed, and named in the output: the share of the peak that training reaches, the price of a GPU hour, how often a GPU
fails and what a restart costs. Wall time comes from a simulation of many runs that draws what is assumed.

It needs the extra ``ingest``; without matplotlib there is no picture.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from echoapex.cli import run
from echoapex.config import read_recipe
from echoapex.data.crops import CropSource
from echoapex.data.stores.frame_reader import open_frame_store
from echoapex.models.decoders.projection_head import ProjectionHead
from echoapex.models.encoder import VisionTransformer
from echoapex.recipes.pretrain import PretrainRecipe
from echoapex.recipes.runner import Recipe, build_recipe, find_recipe

RECIPES = ("pretrain_small", "pretrain_base", "pretrain_large")
GPUS = {"L40S": 362.05, "A100 SXM": 312.0, "H100 SXM": 989.4}
"""Peak in TFLOPS, dense bf16: NVIDIA's data sheets. An H200 computes as an H100 does, with more memory."""
FLEETS = (1, 8, 64)
MASKED_SHARE = 0.15
"""Mean share of patches for which the patch head works: half of the images, 10 to 50 % masked."""


@dataclass(frozen=True)
class Assumptions:
    """What nobody measured here."""

    utilisation: tuple[float, float] = (0.25, 0.45)
    """Share of the peak that a well-tuned step reaches, lowest and highest."""
    scaling_loss: float = 0.03
    """Lost for each doubling of the number of machines of 8 GPUs."""
    gpu_failure_hours: float = 50_000.0
    """Mean time between failures of one GPU with its share of the machine."""
    restart_minutes: tuple[float, float] = (5.0, 30.0)
    checkpoint_minutes: float = 30.0
    """Between two checkpoints; half of it is lost on average by a failure."""
    loader_efficiency: float = 0.8
    """What a core delivers among many, over what it delivers alone."""


@dataclass(frozen=True)
class Work:
    """What one recipe asks for."""

    recipe: str
    parameters_million: float
    images_million: float
    gflop_per_image: float

    @property
    def flop(self) -> float:
        """Of the whole run."""
        return self.images_million * 1e6 * self.gflop_per_image * 1e9


def count_work(name: str) -> Work:
    """Operations of a step, by image: student forward and backward, teacher forward, heads of both."""
    recipe = build_recipe(read_recipe(find_recipe(name)), name)
    task = _pretraining(recipe)
    crops, width = task.frames.crops, task.encoder.width
    with torch.device("meta"):
        encoder = VisionTransformer(task.encoder)
        heads = ProjectionHead(width, task.class_head), ProjectionHead(width, task.patch_head)
        large, small = (_flop_of(encoder, torch.empty(1, 1, side, side)) for side in (
            crops.global_crops.side, crops.local_crops.side))  # fmt: skip
        class_head, patch_head = (_flop_of(head, torch.empty(1, width)) for head in heads)
    patches = (crops.global_crops.side // task.encoder.patch_size) ** 2
    views = crops.global_crops.count + crops.local_crops.count
    masked = crops.global_crops.count * patches * MASKED_SHARE
    student = crops.global_crops.count * large + crops.local_crops.count * small + views * class_head
    teacher = crops.global_crops.count * (large + class_head)
    # the backward pass costs twice the forward pass
    total = 3 * (student + masked * patch_head) + teacher + masked * patch_head
    images = recipe.train.steps * task.frames.batch_size
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    return Work(name, parameters / 1e6, images / 1e6, total / 1e9)


def _pretraining(recipe: Recipe) -> PretrainRecipe:
    assert isinstance(recipe.task, PretrainRecipe)
    return recipe.task


def _flop_of(module: torch.nn.Module, sample: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(sample)
    return int(counter.get_total_flops())


def measure_store(folder: Path, studies: int) -> dict[str, float]:
    """Bytes of a frame on disk, and frames with their crops that a core makes a second."""
    quiet = "--quiet"
    _run(["phantom", "--studies", str(studies), "--seed", "1500", "--out", str(folder / "studies"), quiet])
    _run(["ingest", str(folder / "studies"), "--out", str(folder / "store"), "--workers", "1", quiet])
    reader = open_frame_store(str(folder / "store"))
    size = sum(path.stat().st_size for path in (folder / "store").rglob("*") if path.is_file())
    task = _pretraining(build_recipe(read_recipe(find_recipe("pretrain_small")), "pretrain_small"))
    source = CropSource(reader, task.frames.model_copy(update={"batch_size": 16}), task.encoder.patch_size)
    source.batch(0)
    started, steps = time.process_time(), 6
    for step in range(1, steps + 1):
        source.batch(step)
    seconds = time.process_time() - started
    return {
        "frames": len(reader),
        "bytes_per_frame": size / len(reader),
        "images_per_s_and_core": steps * 16 / seconds,
    }


def _run(arguments: list[str]) -> None:
    code = run(arguments)
    if code:
        raise SystemExit(f"echoapex {arguments[0]} ended with exit code {code}")


def simulate(work: Work, gpu: str, count: int, assumed: Assumptions, runs: int = 4000) -> dict[str, Any]:
    """Wall hours of many runs, each with its own utilisation, failures and restarts."""
    rng = np.random.default_rng([count, len(gpu), int(work.gflop_per_image)])
    machines = max(1, count / 8)
    scaling = (1 - assumed.scaling_loss) ** math.log2(machines)
    utilisation = rng.uniform(*assumed.utilisation, runs) * scaling
    hours = work.flop / (count * GPUS[gpu] * 1e12 * utilisation) / 3600
    # failures that happen while lost work is done again are failures too: a few rounds settle it
    wall = hours.copy()
    for _ in range(6):
        failures = rng.poisson(wall * count / assumed.gpu_failure_hours)
        lost = failures * (assumed.checkpoint_minutes / 2 + rng.uniform(*assumed.restart_minutes, runs)) / 60
        wall = hours + lost
    low, middle, high = np.percentile(wall, [5, 50, 95])
    images_per_s = work.images_million * 1e6 / (np.median(hours) * 3600)
    return {
        "recipe": work.recipe, "gpu": gpu, "gpus": count, "wall_hours": [low, middle, high],
        "gpu_hours": middle * count, "images_per_s": images_per_s, "failures": float(np.median(failures)),
    }  # fmt: skip


def plan(frames: int, prices: tuple[float, float, float], measured: dict[str, float]) -> dict[str, Any]:
    """The whole plan as plain numbers."""
    assumed = Assumptions()
    works = [count_work(name) for name in RECIPES]
    rows = []
    for work in works:
        for gpu in GPUS:
            for count in FLEETS:
                row = simulate(work, gpu, count, assumed)
                per_core = measured["images_per_s_and_core"] * assumed.loader_efficiency
                row["loader_cores"] = math.ceil(row["images_per_s"] / per_core)
                row["read_mb_per_s"] = row["images_per_s"] * measured["bytes_per_frame"] / 1e6
                row["money"] = [row["gpu_hours"] * price for price in prices]
                rows.append(row)
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "frames": frames,
        "store_gb": frames * measured["bytes_per_frame"] / 1e9,
        "measured": measured,
        "assumed": asdict(assumed) | {"price_per_gpu_hour": prices},
        "published_peak_tflops": GPUS,
        "work": [asdict(work) | {"passes": work.images_million * 1e6 / frames} for work in works],
        "rows": rows,
    }


def table(result: dict[str, Any]) -> str:
    """The plan as a Markdown table."""
    lines = [
        "| recipe | GPUs | wall time, 5 / 50 / 95 % | GPU hours | images/s | loader cores | read MB/s "
        "| money, low / middle / high |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        wall = " / ".join(_duration(hours) for hours in row["wall_hours"])
        money = " / ".join(f"{value:,.0f}" for value in row["money"])
        lines.append(
            f"| {row['recipe'].removeprefix('pretrain_')} | {row['gpus']} x {row['gpu']} | {wall} | "
            f"{row['gpu_hours']:,.0f} | {row['images_per_s']:,.0f} | {row['loader_cores']} | "
            f"{row['read_mb_per_s']:,.0f} | {money} |"
        )
    return "\n".join(lines)


def _duration(hours: float) -> str:
    return f"{hours / 24:.1f} d" if hours >= 48 else f"{hours:.1f} h"


def draw(result: dict[str, Any], path: Path) -> None:
    """Wall time against the number of GPUs, one panel per recipe."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(RECIPES), figsize=(10, 3.6), sharey=True, layout="constrained")
    colours = ["#4c72b0", "#dd8452", "#55a868"]
    for axis, name in zip(axes, RECIPES, strict=True):
        for shift, (gpu, colour) in enumerate(zip(GPUS, colours, strict=True)):
            rows = [row for row in result["rows"] if row["recipe"] == name and row["gpu"] == gpu]
            days = np.array([row["wall_hours"] for row in rows]) / 24
            place = np.array([row["gpus"] for row in rows]) * 1.06 ** (shift - 1)
            error = np.abs(days[:, [0, 2]] - days[:, [1]]).T
            axis.errorbar(place, days[:, 1], error, fmt="o-", ms=4, lw=1.2, capsize=2, color=colour, label=gpu)
        work = next(work for work in result["work"] if work["recipe"] == name)
        axis.set_title(f"{name.removeprefix('pretrain_')}: {work['parameters_million']:.0f} M parameters", fontsize=10)
        axis.set(xscale="log", yscale="log", xticks=FLEETS, xlabel="GPUs")
        axis.set_xticks(FLEETS, [str(count) for count in FLEETS])
        axis.minorticks_off()
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    ticks = [0.01, 0.1, 1, 10, 100]
    axes[0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[0].set_ylabel("days (median, 5 to 95 %)")
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=160)
    plt.close(figure)


def main() -> None:
    """Measure, count, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=20_000_000, help="frames of the archive")
    parser.add_argument(
        "--price", type=float, nargs=3, default=(1.5, 2.5, 4.0), help="of a GPU hour: low, middle, high"
    )
    parser.add_argument("--studies", type=int, default=1, help="phantom studies from which the store is measured")
    parser.add_argument("--out", type=Path, default=None, help="folder for plan.json and plan.png")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        measured = measure_store(Path(folder), options.studies)
    result = plan(options.frames, tuple(options.price), measured)
    print(json.dumps({key: result[key] for key in ("machine", "store_gb", "measured", "assumed", "work")}, indent=2))
    print(table(result))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "plan.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        draw(result, options.out / "plan.png")


if __name__ == "__main__":
    main()
