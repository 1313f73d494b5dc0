"""A step of pretraining beside the same step from lightly's building blocks, on the same crops, in one run.

    make benchsteps                                     both environments, then this
    python benchmarks/pretrain_step.py [--quick] [--sizes tiny-112 small-224] [--batches 8 16] [--rounds 3] [--out FILE]

A step is forward, backward and update of the student, and the update of the teacher, with 65,536 prototypes and two
heads: ``pretrain_echoapex.py`` and ``pretrain_lightly.py`` say what is in it. Sides take turns, each turn in a process
of its own, so that its peak memory is its own too; crops come from a file, so that nobody waits for a loader. Beside
that: the rate of plain matrix products on the same machine, of which a step reaches a share; the losses of the fast
step beside those of the formulas in single precision; and what a loader gives, from a frame store, on one core.

Compare the CPU seconds: wall time depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from figures_file import tell_figures
from phantom_clips import write_a4c
from pretrain_turns import PATCH, SIZES, Size

from echoapex.cli import run
from echoapex.data.batch import CropBatch
from echoapex.data.crops import CropConfig, CropKind, CropSource, CropSourceConfig
from echoapex.data.stores.frame_reader import FrameReader, open_frame_store

HERE = Path(__file__).parent
BATCHES_ON_DISK = 3
GEMM_SIDE = 1536
GEMM_TRIES = 5


class BenchmarkError(ValueError):
    """A benchmark that cannot run; the message says what to do."""


@dataclass
class Timed:
    """What the turns of one side found."""

    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)
    gflop: float = 0.0
    torch: str = ""

    def add(self, answer: dict[str, Any]) -> None:
        """Take over the answer of a turn."""
        self.cpu_s += answer["cpu_s"]
        self.wall_s += answer["wall_s"]
        self.peak_mb.append(answer["peak_mb"])
        self.gflop, self.torch = answer["gflop"], answer["torch"]

    def summary(self, frames: int, gemm_gflops: float) -> dict[str, float]:
        """Medians, the least CPU time, frames a second, and the share of the peak of matrix products."""
        cpu = statistics.median(self.cpu_s)
        return {
            "cpu_s": round(cpu, 3),
            "least_cpu_s": round(min(self.cpu_s), 3),
            "wall_s": round(statistics.median(self.wall_s), 3),
            "images_per_cpu_s": round(frames / cpu, 3),
            "peak_mb": max(self.peak_mb),
            "gflop": round(self.gflop, 1),
            "share_of_gemm_peak": round(self.gflop / min(self.cpu_s) / gemm_gflops, 3),
            "steps": len(self.cpu_s),
        }


SIDES = {
    "echoapex fp32": ("pretrain_echoapex.py", "fp32"),
    "echoapex bf16": ("pretrain_echoapex.py", "bf16"),
    "lightly fp32": ("pretrain_lightly.py", "fp32"),
    "lightly bf16": ("pretrain_lightly.py", "bf16"),
}
COMPARED = (
    ("echoapex bf16", "lightly fp32"), ("echoapex bf16", "lightly bf16"), ("echoapex fp32", "lightly fp32"),
)  # fmt: skip


def take_turn(
    choices: argparse.Namespace, script: str, crops: Path, options: Iterable[str], *, preload: str = ""
) -> dict[str, Any]:
    """Start a side, wait, and read its answer.

    Raises:
        BenchmarkError: its environment is missing, or it ended.
    """
    python = choices.peer_venv / "bin" / "python" if script == "pretrain_lightly.py" else Path(sys.executable)
    if not python.exists():
        raise BenchmarkError(f"{choices.peer_venv}: is no environment for the peer; `make benchsteps` builds one")
    environment = {**os.environ, "OMP_NUM_THREADS": str(choices.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    if preload:
        environment["LD_PRELOAD"] = preload
    command = [str(python), str(HERE / script), str(crops), "--threads", str(choices.threads), *options]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"{script} ended with exit code {done.returncode}; its message is above")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def crop_source(reader: FrameReader, size: Size, batch: int) -> CropSource:
    """The loader of ``echoapex pretrain`` at a size."""
    crops = CropConfig(
        global_crops=CropKind(count=2, side=size.global_side, scale=(0.32, 1.0)),
        local_crops=CropKind(count=size.locals, side=size.local_side, scale=(0.05, 0.32)),
    )
    return CropSource(reader, CropSourceConfig(batch_size=batch, crops=crops), PATCH)


def write_crops(source: CropSource, path: Path) -> None:
    """Draw the batches that both sides learn from."""
    drawn: list[CropBatch] = [source.batch(step) for step in range(BATCHES_ON_DISK)]
    np.savez(
        path,
        global_crops=np.stack([batch.global_crops.numpy() for batch in drawn]),
        local_crops=np.stack([batch.local_crops.numpy() for batch in drawn]),
        masked=np.stack([batch.masked.numpy() for batch in drawn]),
    )


def measure_gemm(dtype: torch.dtype) -> float:
    """GFLOP a CPU second of large square matrix products, the best of some."""
    left, right = (torch.randn(GEMM_SIDE, GEMM_SIDE).to(dtype) for _ in range(2))
    left @ right
    seconds = []
    for _ in range(GEMM_TRIES):
        cpu = time.process_time()
        left @ right
        seconds.append(time.process_time() - cpu)
    return 2 * GEMM_SIDE**3 / min(seconds) / 1e9


def measure_loader(source: CropSource, batch: int, steps: int) -> float:
    """Frames with all their crops that one core decodes and cuts a second."""
    source.batch(0)
    cpu = time.process_time()
    for step in range(1, steps + 1):
        source.batch(step)
    return steps * batch / (time.process_time() - cpu)


def ingest_phantom(folder: Path) -> FrameReader:
    """A frame store as ``echoapex ingest`` writes it, of one simulated clip.

    Raises:
        BenchmarkError: the ingest failed.
    """
    write_a4c(folder / "clips", frames=24)
    options = ["--workers", "1", "--val-percent", "0", "--quiet"]
    if code := run(["ingest", str(folder / "clips"), "--out", str(folder / "store"), *options]):
        raise BenchmarkError(f"echoapex ingest ended with exit code {code}")
    return open_frame_store(str(folder / "store"))


def compare_steps(choices: argparse.Namespace, reader: FrameReader, folder: Path) -> dict[str, Any]:
    """All sides in turns, at every size and batch."""
    found: dict[str, Any] = {}
    for name in choices.sizes:
        for batch in choices.batches:
            crops = folder / f"{name}-{batch}.npz"
            write_crops(crop_source(reader, SIZES[name], batch), crops)
            timed = {side: Timed() for side in choices.sides}
            gemm = {"fp32": 0.0, "bf16": 0.0}
            for turn in range(choices.rounds):
                for side, kept in timed.items():
                    script, precision = SIDES[side]
                    options = ["--size", name, "--precision", precision, "--steps", str(choices.steps)]
                    kept.add(take_turn(choices, script, crops, options, preload=choices.preload))
                    print(f"{name}, batch {batch}, round {turn + 1}: {side} {min(kept.cpu_s):.2f} s", file=sys.stderr)
                gemm = {key: max(gemm[key], measure_gemm(_DTYPES[key])) for key in gemm}
            rows = {side: kept.summary(batch, gemm[SIDES[side][1]]) for side, kept in timed.items()}
            found[f"{name}, batch {batch}"] = {
                "gemm_gflops": {key: round(value, 1) for key, value in gemm.items()},
                "sides": rows,
                "ratios": _ratios(rows),
                "torch": {side: kept.torch for side, kept in timed.items()},
            }
            print(json.dumps(found[f"{name}, batch {batch}"]), file=sys.stderr, flush=True)
    return found


def _ratios(rows: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """How many times as fast ours is, and which part of the peer's memory it needs."""
    return {
        f"{ours} / {peer}": {
            "speed": round(rows[peer]["cpu_s"] / rows[ours]["cpu_s"], 2),
            "speed_by_least_cpu_s": round(rows[peer]["least_cpu_s"] / rows[ours]["least_cpu_s"], 2),
            "peak_memory": round(rows[ours]["peak_mb"] / rows[peer]["peak_mb"], 2),
        }
        for ours, peer in COMPARED
        if ours in rows and peer in rows
    }


_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def compare_losses(choices: argparse.Namespace, crops: Path) -> dict[str, Any]:
    """Losses of the fast step and of the formulas in single precision, from the same start on the same crops."""
    options = ["--size", "tiny-112", "--steps", str(choices.curve - 1)]
    curves = {
        label: take_turn(choices, "pretrain_echoapex.py", crops, [*options, *more])["losses"]
        for label, more in {
            "formulas fp32": ["--precision", "fp32", "--plain"],
            "fast fp32": ["--precision", "fp32"],
            "fast bf16": ["--precision", "bf16"],
        }.items()
    }
    plain = np.array(curves["formulas fp32"])
    apart = {label: np.abs(np.array(curve) - plain) for label, curve in curves.items() if label != "formulas fp32"}
    return {
        "steps": choices.curve,
        "losses": {label: [round(loss, 5) for loss in curve] for label, curve in curves.items()},
        "greatest_difference": {label: float(f"{gap.max():.3g}") for label, gap in apart.items()},
        "mean_difference": {label: float(f"{gap.mean():.3g}") for label, gap in apart.items()},
        "fall": round(float(plain[0] - plain[-1]), 4),
    }


def compare(choices: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything that this benchmark measures."""
    reader = open_frame_store(choices.store) if choices.store else ingest_phantom(folder)
    found: dict[str, Any] = {"conditions": _conditions(choices)}
    found["loader_images_per_cpu_s"] = {
        name: round(measure_loader(crop_source(reader, SIZES[name], 8), 8, 4), 1) for name in choices.sizes
    }
    found["steps"] = compare_steps(choices, reader, folder)
    if choices.curve:
        crops = folder / "curve.npz"
        write_crops(crop_source(reader, SIZES["tiny-112"], 8), crops)
        found["losses"] = compare_losses(choices, crops)
    found["conditions"]["load_at_end"] = [round(load, 1) for load in os.getloadavg()]
    return found


def _conditions(choices: argparse.Namespace) -> dict[str, Any]:
    return {
        "threads": choices.threads,
        "rounds": choices.rounds,
        "steps_a_round": choices.steps,
        "allocator": Path(choices.preload).name if choices.preload else "that of the system",
        "python": platform.python_version(),
        "processors": os.cpu_count(),
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", default="", help="store of ingested frames; by default one of a simulated clip")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 16])
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="timed steps of a round")
    parser.add_argument("--curve", type=int, default=30, help="steps over which losses are compared; 0: not at all")
    parser.add_argument("--threads", type=int, default=1, help="of both sides")
    parser.add_argument("--quick", action="store_true", help="one round of one step")
    parser.add_argument("--preload", default="", help="an allocator for both sides, libtcmalloc_minimal.so for example")
    parser.add_argument("--peer-venv", type=Path, default=Path(".venv-bench"))
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file as well")
    choices = parser.parse_args(arguments)
    if choices.quick:
        choices.rounds, choices.steps = 1, 1
    return choices


def main() -> int:
    """Measure, print, write."""
    choices = parse()
    torch.set_num_threads(choices.threads)
    cv2.setNumThreads(choices.threads)
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = compare(choices, Path(folder))
        except ValueError as error:
            print(f"pretrain_step: {error}", file=sys.stderr)
            return 1
    tell_figures(found, choices.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
