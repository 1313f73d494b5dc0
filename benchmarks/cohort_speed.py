"""How much faster several workers analyse a cohort than one, and how much memory each of them needs.

    python benchmarks/cohort_speed.py [--workers 1,2] [--studies 2] [--repeats 3] [--out benchmarks/results/cohort.json]

Simulated studies (A4C, A2C and PLAX each) are analysed from files to output folder with fresh workers, each with one
thread. Numbers of workers take turns, so that a busy machine slows all of them alike. The time holds everything: start
of the workers, loading of the weights, analysis, writing. A second time leaves the first clip of the run out of both
count and time, and so the start of the workers. Memory is the largest resident memory of a worker (Linux).

The speed-up says something only where the process may use as many cores as workers: ``cores`` is in the result, and
with fewer cores the benchmark says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from echoapex.infer.clip.models import TaskInterpreter
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.study.analyze import NamedInterpreter, SilentObserver
from echoapex.infer.study.cohort import CohortAnalyzer, WorkerModels
from echoapex.io.local_engine import LocalEngine
from echoapex.phantom.study import StudyPlan, write_study
from echoapex.version import __version__
from echoapex.vocabulary import View

VIEWS = (View.A4C, View.A2C, View.PLAX)
FIRST_SEED = 1_000_300


class Watch(SilentObserver):
    """Notes when the first clip and the last one were finished."""

    def __init__(self) -> None:
        self.times_s: list[float] = []

    def finished(self, name: str, outcome: str) -> None:
        if outcome.startswith("failed"):
            raise SystemExit(f"{name}: {outcome}")
        self.times_s.append(time.monotonic())


class MemoryMeter:
    """The largest resident memory of each process below this one, sampled while it is open."""

    def __init__(self) -> None:
        self._peaks: dict[int, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> MemoryMeter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def peak_mb(self) -> float:
        """Of the process that needed most."""
        return max(self._peaks.values(), default=0) / 1e6

    def _sample(self) -> None:
        this = psutil.Process()
        while not self._stop.wait(0.2):
            for process in this.children(recursive=True):
                try:
                    resident = process.memory_info().rss
                except psutil.Error:  # it ended meanwhile
                    continue
                self._peaks[process.pid] = max(self._peaks.get(process.pid, 0), resident)


@dataclass
class Runs:
    """What the repetitions with one number of workers took."""

    whole_s: list[float] = field(default_factory=list)
    clip_s: list[float] = field(default_factory=list)
    worker_mb: list[float] = field(default_factory=list)


def analyze_once(models: NamedInterpreter, studies: Path, workers: int, runs: Runs) -> int:
    """Analyse all studies into a fresh folder; returns the number of clips."""
    watch = Watch()
    source = WorkerModels(models.bundle, "cpu", models.precision)
    analyzer = CohortAnalyzer(models, source, LocalEngine(workers), AnalysisOptions(), watch)
    with tempfile.TemporaryDirectory() as out, MemoryMeter() as memory:
        start_s = time.monotonic()
        report = analyzer.run([studies], Path(out) / "results")
        runs.whole_s.append(time.monotonic() - start_s)
    if report.errors or len(report.clips) != len(watch.times_s):
        raise SystemExit("a clip was lost; the times would mean nothing")
    runs.clip_s.append((watch.times_s[-1] - watch.times_s[0]) / max(1, len(watch.times_s) - 1))
    runs.worker_mb.append(memory.peak_mb)
    return len(report.clips)


def measure(workers: Sequence[int], studies: int, repeats: int, size: int) -> dict[str, Any]:
    """Take turns, and compare with one worker."""
    models = NamedInterpreter(TaskInterpreter.load("phantom", "cpu", "fp32"), "phantom", "cpu", "fp32")
    runs = {number: Runs() for number in workers}
    clips = 0
    with tempfile.TemporaryDirectory() as place:
        for number in range(studies):
            write_study(Path(place) / f"study-{number}", FIRST_SEED + number, StudyPlan(views=VIEWS, size=size))
        for _ in range(repeats):
            for number in workers:
                clips = analyze_once(models, Path(place), number, runs[number])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    medians = {number: statistics.median(found.whole_s) for number, found in runs.items()}
    by_clip = {number: statistics.median(found.clip_s) for number, found in runs.items()}
    first = workers[0]
    return {
        "version": __version__,
        "machine": platform.processor() or platform.machine(),
        "cores": cores,
        "clips": clips,
        "repeats": repeats,
        "compared_with_workers": first,
        "means_something": cores >= max(workers),
        "workers": {
            str(number): {
                "whole_s": round(medians[number], 2),
                "speed_up": round(medians[first] / medians[number], 2),
                "s_per_further_clip": round(by_clip[number], 3),
                "speed_up_of_further_clips": round(by_clip[first] / max(by_clip[number], 1e-9), 2),
                "largest_worker_mb": round(statistics.median(runs[number].worker_mb)),
            }
            for number in workers
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="1,2", help="numbers of workers to compare; the first is the reference")
    parser.add_argument("--studies", type=int, default=2, help="simulated studies of three clips each")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size", type=int, default=256, help="height and width of a frame in pixels")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    chosen = parser.parse_args(arguments)
    found = measure([int(number) for number in chosen.workers.split(",")], chosen.studies, chosen.repeats, chosen.size)
    text = json.dumps(found, indent=1) + "\n"
    sys.stdout.write(text)
    if not found["means_something"]:
        sys.stderr.write(f"only {found['cores']} cores for so many workers: the speed-up means nothing here\n")
    if chosen.out is not None:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
