"""The whole of ``echoapex.analyze`` beside the models of EchoNet-Dynamic, on the same clip, in one run.

    make bench                                          both environments, then this
    python benchmarks/analyze_speed.py [--quick] [--set random] [--out benchmarks/results/analyze_speed.json]

Ours is everything from the DICOM file to the output folder: decoding, preparing, view, ejection fraction, outlines
(``cycle``: every frame, the default of ``analyze``; ``ed_es``: end-diastole and end-systole), measurements, masks,
overlay video, preview. The peer is its two networks alone, on frames that are already decoded and resized: R(2+1)D-18
over windows of 32 frames and DeepLabV3-ResNet50 on every frame, at 112 x 112, with random weights. Its windows are
counted in two ways: ``period 1``, all runs of 32 successive frames; ``period 2``, every second frame as EchoNet-Dynamic
samples, which leaves two windows of a clip of 60 frames once it is padded to 64.

Both sides take turns, in processes that are warm, with the same number of threads. Compare the CPU seconds: wall time
depends on what else the machine does.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
import torch
from figures_file import tell_figures
from jaxtyping import UInt8
from phantom_clips import write_a4c
from random_set import describe_set, find_bundles

from echoapex.domain import StudyReport
from echoapex.infer.clip.models import TaskInterpreter
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.study.analyze import NamedInterpreter, StudyAnalyzer
from echoapex.io.study_files import read_clip
from echoapex.version import __version__

PEER_SCRIPT = Path(__file__).with_name("echonet_peer.py")
PEER_SIZE = 112
WINDOW_FRAMES = 32
QUICK_WINDOWS, QUICK_FRAMES = 4, 20
Contours = Literal["cycle", "ed_es"]


class BenchmarkError(ValueError):
    """A benchmark that cannot run, or did not do the work; the message says what to do."""


@dataclass
class Timings:
    """CPU and wall seconds of repetitions of the same work."""

    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)

    def add(self, cpu_s: float, wall_s: float) -> None:
        self.cpu_s.append(cpu_s)
        self.wall_s.append(wall_s)

    def medians(self, scale: float = 1.0) -> dict[str, float]:
        return {
            "cpu_s": round(scale * statistics.median(self.cpu_s), 3),
            "wall_s": round(scale * statistics.median(self.wall_s), 3),
        }


class OurSide:
    """``analyze`` with models that are loaded once; every repetition writes a fresh output folder."""

    def __init__(self, models: NamedInterpreter, clip: Path) -> None:
        self._models, self._clip = models, clip

    def run(self, contours: Contours, timings: Timings | None = None) -> int:
        """Analyse the clip once; returns how many frames were outlined.

        Raises:
            BenchmarkError: the analysis ended early, so that its time would say nothing.
        """
        analyzer = StudyAnalyzer(self._models, AnalysisOptions(contours=contours), raise_unexpected=True)
        with tempfile.TemporaryDirectory() as folder:
            cpu, wall = time.process_time(), time.perf_counter()
            report = analyzer.run([self._clip], Path(folder))
            if timings is not None:
                timings.add(time.process_time() - cpu, time.perf_counter() - wall)
            return _outlined_frames(report, Path(folder))


class PeerSide:
    """The peer's process: one line in does the work once, one line comes back."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.ejection, self.segmentation = Timings(), Timings()
        self.windows = self.frames = 0
        self.torch = ""

    def run(self) -> None:
        """Do the work once.

        Raises:
            BenchmarkError: the peer ended.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write("once\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BenchmarkError("the peer ended; its message is above, `make bench` builds its environment")
        answer = json.loads(line)
        self.windows, self.frames, self.torch = answer["windows"], answer["frames"], answer["torch"]
        self.ejection.add(**answer["ejection"])
        self.segmentation.add(**answer["segmentation"])


@contextmanager
def open_peer(choices: argparse.Namespace, frames: UInt8[np.ndarray, "f s s 3"], folder: Path) -> Iterator[PeerSide]:
    """Start the peer on prepared frames.

    Raises:
        BenchmarkError: the peer's environment is missing.
    """
    python = choices.peer_venv / "bin" / "python"
    if not python.exists():
        raise BenchmarkError(f"{choices.peer_venv}: is no environment for the peer; `make bench` builds one")
    path = folder / "frames.npy"
    np.save(path, frames)
    command = [str(python), str(PEER_SCRIPT), str(path)]
    command += ["--threads", str(choices.threads), "--precision", choices.peer_precision]
    if choices.quick:
        command += ["--windows", str(QUICK_WINDOWS), "--frames", str(QUICK_FRAMES)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(choices.threads)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as peer:
        try:
            yield PeerSide(peer)
        finally:
            assert peer.stdin is not None
            peer.stdin.close()


def prepare_for_peer(clip: Path) -> UInt8[np.ndarray, "frames 112 112 3"]:
    """The clip as EchoNet-Dynamic stores clips: RGB at 112 x 112."""
    frames = read_clip(clip).frames
    small = np.stack([cv2.resize(frame, (PEER_SIZE, PEER_SIZE), interpolation=cv2.INTER_AREA) for frame in frames])
    return small if small.ndim == 4 else np.repeat(small[..., None], 3, axis=-1)


def count_windows(frames: int, period: int) -> int:
    """Windows of 32 frames that lie ``period`` apart, one window per start; short clips are padded as the peer does.

    >>> count_windows(60, 1), count_windows(60, 2), count_windows(176, 2)
    (29, 2, 114)
    """
    padded = max(frames, WINDOW_FRAMES * period)
    return padded - (WINDOW_FRAMES - 1) * period


def compare(choices: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run both sides in turns and describe what was found."""
    (clip,) = write_a4c(folder / "clip", frames=choices.frames)
    bundles = find_bundles(choices.set, folder / "set")
    ours = OurSide(NamedInterpreter(TaskInterpreter.load(bundles, "cpu", "fp32"), choices.set, "cpu"), clip)
    timings: dict[Contours, Timings] = {contours: Timings() for contours in get_args(Contours)}
    with open_peer(choices, prepare_for_peer(clip), folder) as peer:
        outlined = {contours: ours.run(contours) for contours in timings}  # warm
        for repetition in range(choices.repetitions):
            for contours, kept in timings.items():
                ours.run(contours, kept)
            peer.run()
            print(f"repetition {repetition + 1} of {choices.repetitions}", file=sys.stderr)
    analysed = {
        contours: {**kept.medians(), "outlined_frames": outlined[contours], "repetitions": kept.cpu_s}
        for contours, kept in timings.items()
    }
    peers = {f"period {period}": _peer_total(peer, choices.frames, period) for period in (1, 2)}
    return {
        "echoapex": __version__,
        "conditions": _conditions(choices, peer),
        "set": describe_set(bundles),
        "analyze": analysed,
        "peer": peers,
        "peer_over_analyze": {
            f"{contours}, {sampling}": {
                clock: round(total[clock] / analysed[contours][clock], 2) for clock in ("cpu_s", "wall_s")
            }
            for contours in analysed
            for sampling, total in peers.items()
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", default="phantom", help="set of bundles: a name, a folder, or random")
    parser.add_argument("--frames", type=int, default=60, help="length of the clip")
    parser.add_argument("--threads", type=int, default=1, help="of both sides")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="time a part of the peer's work and scale it up")
    parser.add_argument("--peer-venv", type=Path, default=Path(".venv-bench"))
    parser.add_argument("--peer-precision", choices=["fp32", "bf16"], default="fp32", help="bf16: the peer tuned")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file as well")
    choices = parser.parse_args()
    if choices.frames < WINDOW_FRAMES:
        parser.error(f"--frames {choices.frames} is less than one window of the peer; use {WINDOW_FRAMES} or more")
    torch.set_num_threads(choices.threads)
    cv2.setNumThreads(choices.threads)
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = compare(choices, Path(folder))
        except ValueError as error:
            print(f"analyze_speed: {error}", file=sys.stderr)
            return 1
    tell_figures(found, choices.out)
    return 0


def _outlined_frames(report: StudyReport, out: Path) -> int:
    (clip,) = report.clips
    if clip.set_aside:
        raise BenchmarkError(f"the clip was set aside ({clip.set_aside}): there is no whole analysis to time")
    masks = out / "masks" / f"{clip.clip_id}.npz"
    if report.ef is None or not masks.is_file():
        raise BenchmarkError(
            "the analysis gave no ejection fraction or no outlines: there is no whole analysis to time"
        )
    with np.load(masks) as arrays:
        return len(arrays["frames"])


def _peer_total(peer: PeerSide, frames: int, period: int) -> dict[str, Any]:
    """Seconds of the peer's whole work on the clip, scaled from the part that was timed."""
    windows = count_windows(frames, period)
    ejection = peer.ejection.medians(windows / peer.windows)
    segmentation = peer.segmentation.medians(frames / peer.frames)
    total = {clock: round(ejection[clock] + segmentation[clock], 3) for clock in ejection}
    measured = {"windows": peer.windows, "frames": peer.frames}
    return {**total, "ejection": ejection, "segmentation": segmentation, "windows": windows, "timed": measured}


def _conditions(choices: argparse.Namespace, peer: PeerSide) -> dict[str, Any]:
    return {
        "clip": f"phantom A4C, {choices.frames} frames of 256 x 256, DICOM JPEG baseline",
        "threads": choices.threads,
        "repetitions": choices.repetitions,
        "peer_precision": choices.peer_precision,
        "peer_scaled_from_a_part": bool(choices.quick),
        "torch": {"echoapex": torch.__version__, "peer": peer.torch},
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "load_at_end": [round(load, 2) for load in _load()],
    }


def _load() -> Sequence[float]:
    return os.getloadavg() if hasattr(os, "getloadavg") else ()


if __name__ == "__main__":
    raise SystemExit(main())
