"""What both sides of ``pretrain_step.py`` share: sizes, crops on disk, and a clock. Imports nothing of EchoApex.

A side is a script that is started anew for every turn, so that its memory is its own; it takes one step to warm up,
times the following ones, and answers with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

PATCH, REGISTERS, DROP_PATH = 16, 4, 0.1
PROTOTYPES, HIDDEN, BOTTLENECK = 65_536, 2048, 256
LEARNING_RATE, WEIGHT_DECAY, BETAS, CLIP_NORM = 1e-4, 0.04, (0.9, 0.999), 3.0
MOMENTUM, TEMPERATURE, STUDENT_TEMPERATURE, KOLEO = 0.992, 0.07, 0.1, 0.1
"""KOLEO: of each of the two global crops."""


@dataclass(frozen=True)
class Size:
    """An encoder and its crops."""

    encoder: str
    global_side: int
    local_side: int
    locals: int


SIZES = {"tiny-112": Size("tiny", 112, 48, 6), "small-224": Size("small", 224, 96, 8)}


class Crops:
    """Batches of crops that were drawn beforehand, the same for both sides.

    Args:
        file: arrays ``global_crops`` (batches, 2, frames, side, side), ``local_crops`` and ``masked`` (batches, 2,
            frames, patches).
    """

    def __init__(self, file: Path) -> None:
        with np.load(file) as arrays:
            self._parts = {name: torch.from_numpy(arrays[name]) for name in ("global_crops", "local_crops", "masked")}

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Global crops, local crops and masked patches of a step; after the last batch comes the first."""
        large, small, masked = (part[step % len(part)] for part in self._parts.values())
        return large, small, masked


class Side(Protocol):
    """One of the two."""

    def step(self, number: int) -> float:
        """Forward, backward, update of student and teacher; returns the loss."""


def read_memory_mb(field_name: str) -> float:
    """Memory of this process in MB: ``VmRSS`` now, ``VmHWM`` at its peak."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field_name}:"))
    return round(int(line.split()[1]) * 1024 / 1e6, 1)


def take_turn(side: Side, steps: int) -> dict[str, object]:
    """One step to warm up, whose floating point operations are counted, and some that are timed."""
    with FlopCounterMode(display=False) as counter:
        losses = [side.step(0)]
    cpu_s, wall_s = [], []
    for number in range(1, steps + 1):
        cpu, wall = time.process_time(), time.perf_counter()
        losses.append(side.step(number))
        cpu_s.append(time.process_time() - cpu)
        wall_s.append(time.perf_counter() - wall)
    return {
        "cpu_s": cpu_s, "wall_s": wall_s, "losses": losses, "peak_mb": read_memory_mb("VmHWM"),
        "gflop": counter.get_total_flops() / 1e9, "torch": torch.__version__,
    }  # fmt: skip


def main(description: str, build: Callable[[argparse.Namespace, Size, Crops], Side], *switches: str) -> None:
    """Build a side as the command line says, let it take its turn, and answer."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("crops", type=Path)
    parser.add_argument("--size", choices=list(SIZES), required=True)
    parser.add_argument("--precision", choices=["fp32", "bf16"], required=True)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    for switch in switches:
        parser.add_argument(switch, action="store_true")
    choices = parser.parse_args()
    torch.set_num_threads(choices.threads)
    torch.manual_seed(0)
    side = build(choices, SIZES[choices.size], Crops(choices.crops))
    print(json.dumps(take_turn(side, choices.steps)))
