"""Peak memory of ``echoapex.analyze`` on a very long clip and on a study of very many clips.

    python benchmarks/analyze_memory.py [--set random] [--clip-frames 2000] [--study-clips 200] [--out FILE]

Both are written and analysed in processes of their own, so that a peak is that of the analysis alone. The study's
memory is read after every clip as well: a study is streamed when it does not grow with the number of clips.
Exit code 1 where a peak exceeds the limit of 3 GB.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from figures_file import tell_figures

LIMIT_MB = 3000
LONG_CLIP_SIZE, STUDY_CLIP_SIZE, STUDY_CLIP_FRAMES = 512, 256, 20
_CHECKPOINTS = 4

P = ParamSpec("P")
R = TypeVar("R")


class MemoryReadError(ValueError):
    """Memory that this system does not tell; the message says where it can be measured."""


@dataclass
class MemoryObserver:
    """Notes the resident memory after every clip, in MB."""

    after_clip_mb: list[float] = field(default_factory=list)

    def found(self, clips: int) -> None:
        """Nothing: clips count when they are done."""

    def begun(self, name: str) -> None:
        """Nothing: clips count when they are done."""

    def finished(self, name: str, outcome: str) -> None:
        self.after_clip_mb.append(read_memory_mb("VmRSS"))


def read_memory_mb(field_name: str) -> float:
    """Memory of this process in MB: ``VmRSS`` now, ``VmHWM`` at its peak.

    The peak of ``getrusage`` will not do: a process inherits that of the one that started it.

    Raises:
        MemoryReadError: there is no ``/proc``.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise MemoryReadError("/proc/self/status: cannot be read; measure memory on Linux") from error
    (line,) = (line for line in lines if line.startswith(f"{field_name}:"))
    return round(int(line.split()[1]) * 1024 / 1e6, 1)


def write_clips(folder: Path, frames: int, size: int, instances: int) -> float:
    """Write phantom clips; returns their size on disk in MB."""
    from phantom_clips import write_a4c

    files = write_a4c(folder, frames=frames, size=size, instances=instances)
    return round(sum(file.stat().st_size for file in files) / 1e6, 1)


def analyse(folder: Path, out: Path, bundles: Path, threads: int) -> dict[str, Any]:
    """Analyse a folder with overlays and masks, and tell memory and time."""
    import cv2
    import torch

    from echoapex.infer.model import analyze

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    observer = MemoryObserver()
    cpu = time.process_time()
    report = analyze(folder, out, bundle=bundles, device="cpu", observer=observer)
    growth = observer.after_clip_mb
    kept = sorted({round(step * (len(growth) - 1) / _CHECKPOINTS) for step in range(_CHECKPOINTS + 1)})
    return {
        "peak_mb": read_memory_mb("VmHWM"),
        "after_clip_mb": {str(index + 1): growth[index] for index in kept},
        "cpu_s": round(time.process_time() - cpu, 1),
        "clips": len(report.clips),
        "set_aside": sum(1 for clip in report.clips if clip.set_aside),
        "failed": len(report.errors),
    }


def run_alone(work: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """Run a function in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments, **named).result()


def measure(choices: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write and analyse both inputs."""
    bundles = run_alone(_find_bundles, choices.set, folder / "set")
    inputs = {
        "long_clip": (choices.clip_frames, LONG_CLIP_SIZE, 1),
        "large_study": (STUDY_CLIP_FRAMES, STUDY_CLIP_SIZE, choices.study_clips),
    }
    found: dict[str, Any] = {"set": choices.set, "threads": choices.threads, "limit_mb": LIMIT_MB}
    for name, (frames, size, instances) in inputs.items():
        print(f"{name}: {instances} clips of {frames} frames of {size} x {size}", file=sys.stderr)
        on_disk_mb = run_alone(write_clips, folder / name, frames, size, instances)
        result = run_alone(analyse, folder / name, folder / f"{name}-out", bundles, choices.threads)
        described = {"frames": frames, "size": size, "on_disk_mb": on_disk_mb}
        found[name] = {**described, "decoded_mb": round(instances * frames * size * size / 1e6, 1), **result}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", default="phantom", help="set of bundles: a name, a folder, or random")
    parser.add_argument("--clip-frames", type=int, default=2000)
    parser.add_argument("--study-clips", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file as well")
    choices = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = measure(choices, Path(folder))
        except ValueError as error:
            print(f"analyze_memory: {error}", file=sys.stderr)
            return 1
    tell_figures(found, choices.out)
    results = [found[name] for name in ("long_clip", "large_study")]
    sound = all(result["peak_mb"] <= LIMIT_MB and not result["failed"] + result["set_aside"] for result in results)
    return 0 if sound else 1


def _find_bundles(name_or_path: str, folder: Path) -> Path:
    from random_set import find_bundles

    return find_bundles(name_or_path, folder)


if __name__ == "__main__":
    raise SystemExit(main())
