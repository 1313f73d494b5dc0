"""Resident memory over many small steps of pretraining, through the whole training loop.

    python benchmarks/pretrain_memory.py [--steps 2000] [--out FILE]

Loop, loader, optimiser, teacher, journal and checkpoints are those of ``echoapex pretrain``; only the sizes are small,
so that thousands of steps take minutes and a leak of some kilobytes a step shows. Exit code 1 where the last quarter of
the run has more than ``ALLOWED_GROWTH`` of the first quarter's memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from phantom_clips import LOOP_BEATS, LOOP_FRAMES, SEED
from pretrain_turns import read_memory_mb

from echoapex.data.crops import CropConfig, CropKind, CropSource, CropSourceConfig
from echoapex.data.stores.phantom_store import PhantomStoreConfig
from echoapex.models.decoders.projection_head import ProjectionHeadConfig
from echoapex.models.encoder import EncoderConfig
from echoapex.phantom import simulate_clip
from echoapex.recipes.pretrain import PretrainRecipe
from echoapex.tasks.pretrain import PretrainSchedule
from echoapex.tasks.task import Loss
from echoapex.train.trainer import Run, TrainConfig, train
from echoapex.vocabulary import View

ALLOWED_GROWTH = 1.02
PATCH = 16
HEAD = ProjectionHeadConfig(hidden=64, bottleneck=32, prototypes=1024)
CROPS = CropConfig(
    global_crops=CropKind(count=2, side=32, scale=(0.4, 1.0)), local_crops=CropKind(count=2, side=16, scale=(0.1, 0.4))
)


class FramesInMemory:
    """Frames of one simulated clip."""

    def __init__(self) -> None:
        self._frames = simulate_clip(View.A4C, SEED, frames=LOOP_FRAMES, beats=LOOP_BEATS, size=128).frames

    def __len__(self) -> int:
        return len(self._frames)

    def take(self, rows: list[int]) -> list[np.ndarray]:
        """The frames with these numbers."""
        return [np.asarray(self._frames[row]) for row in rows]


def watch_memory(steps: int, every: int, directory: Path) -> list[float]:
    """Resident memory in MB after every ``every`` steps of a run."""
    recipe = PretrainRecipe(
        encoder=EncoderConfig(size="tiny", patch_size=PATCH, image_size=32, drop_path=0.1),
        class_head=HEAD,
        patch_head=HEAD,
        schedule=PretrainSchedule(steps=steps, frozen_prototype_steps=min(20, steps // 10)),
        archives=("none",),
        validation=PhantomStoreConfig(patients=1),
    )
    source = CropSource(FramesInMemory(), CropSourceConfig(batch_size=2, crops=CROPS), PATCH)
    config = TrainConfig(steps=steps, checkpoint_every=max(1, steps // 4), log_every=10, trackers=())
    seen: list[float] = []

    def on_step(step: int, total: int, loss: Loss) -> None:
        if (step + 1) % every == 0:
            seen.append(read_memory_mb("VmRSS"))

    train(Run(recipe.build_task(), source, None, 0, directory, {"name": "benchmark"}), config, on_step)
    return seen


def describe(memory_mb: list[float], every: int) -> dict[str, Any]:
    """Medians of the first and the last quarter, and the slope of a line through all of it.

    >>> found = describe([100.0, 100.0, 101.0, 101.0, 102.0, 102.0, 103.0, 103.0], 10)
    >>> found["first_quarter_mb"], found["last_quarter_mb"], found["kb_per_step"]
    (100.0, 103.0, 47.6)
    """
    quarter = max(1, len(memory_mb) // 4)
    steps = every * np.arange(1, len(memory_mb) + 1)
    first, last = np.median(memory_mb[:quarter]), np.median(memory_mb[-quarter:])
    later = slice(quarter, None)  # caches fill in the beginning
    return {
        "first_quarter_mb": round(float(first), 1),
        "last_quarter_mb": round(float(last), 1),
        "growth": round(float(last / first), 4),
        "kb_per_step": round(1000 * float(np.polyfit(steps, memory_mb, 1)[0]), 1),
        "kb_per_step_after_first_quarter": round(1000 * float(np.polyfit(steps[later], memory_mb[later], 1)[0]), 1),
        "samples": len(memory_mb),
    }


def main() -> int:
    """Train, print, judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--every", type=int, default=10, help="steps between two samples")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file as well")
    choices = parser.parse_args()
    if choices.steps < 8 * choices.every:
        parser.error(f"--steps {choices.steps} gives too few samples; use {8 * choices.every} or more")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    cpu = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        memory_mb = watch_memory(choices.steps, choices.every, Path(folder))
    found = {"steps": choices.steps, "cpu_s": round(time.process_time() - cpu, 1), **describe(memory_mb, choices.every)}
    text = json.dumps(found, indent=1) + "\n"
    if choices.out:
        choices.out.parent.mkdir(parents=True, exist_ok=True)
        choices.out.write_text(json.dumps({**found, "memory_mb": memory_mb}, indent=1) + "\n", encoding="utf-8")
    print(text, end="")
    if found["growth"] > ALLOWED_GROWTH:
        print(f"pretrain_memory: memory grew by more than {ALLOWED_GROWTH - 1:.0%}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
