"""Frames a second and core of ``echoapex ingest`` beside plain pydicom decoding of the same files, in one run.

    python benchmarks/ingest_speed.py [--frames 60] [--files 4] [--repetitions 5] [FILE.dcm ...]

It needs the extra ``ingest``. Without files, phantom clips as JPEG baseline and, where the package pydicom-data is
installed, its real clip are taken. Ours is a unit of ingest as a worker does it: decoding, content, sector, cropping,
resizing, hashes, JPEG, writing the fragment. All frames are looked at, so that both sides decode the same ones;
``default rules`` is ours once more as ``echoapex ingest`` works without options, which leaves out frames of clips of
more than 64. Plain is ``dcmread(path).pixel_array`` by whatever plugin pydicom chooses, and nothing else.

Both sides take turns in one process with one thread. CPU seconds are compared: wall time depends on what else the
machine does.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import pydicom
from figures_file import tell_figures
from phantom_clips import write_a4c
from pydicom.pixels import get_decoder

from echoapex.data.ingest.plan import ArchiveKey, IngestRules, SourceFile, Unit, find_sources
from echoapex.data.ingest.unit_work import INGESTED, IngestJob, ingest_unit
from echoapex.data.stores.frame_store_writer import StoreIdentity, StoreWriter
from echoapex.data.stores.place import StorePlace
from echoapex.version import __version__

KEY = ArchiveKey(bytes(32))
ALL_FRAMES = 4096


class BenchmarkError(ValueError):
    """A benchmark that did not do the work; the message says why."""


def decode_plainly(files: Sequence[Path]) -> int:
    """Every frame of every file by pydicom's own choice of decoder; returns how many there were."""
    return sum(_frame_count(pydicom.dcmread(path).pixel_array, path) for path in files)


def ingest_once(files: Sequence[Path], rules: IngestRules) -> int:
    """The work on one unit, into a new store; returns how many frames its clips have.

    Raises:
        BenchmarkError: a file was not ingested.
    """
    with tempfile.TemporaryDirectory() as folder:
        StoreWriter(StorePlace(folder), StoreIdentity({}, ""))
        found = [item for item in find_sources(files, KEY, "digest") if isinstance(item, SourceFile)]
        report = ingest_unit(IngestJob(rules, KEY.secret, folder), Unit(0, tuple(found)))
    failed = [record["reason"] for record in report.records if record["outcome"] != INGESTED]
    if failed or len(found) != len(files):
        raise BenchmarkError(f"not every file was ingested ({'; '.join(failed)}); there is nothing to compare")
    return sum(record["frames_native"] for record in report.records)


def compare(files: Sequence[Path], repetitions: int) -> dict[str, Any]:
    """Both sides in turns; medians of CPU seconds."""
    rules = IngestRules(max_frames=ALL_FRAMES)
    sides: dict[str, Callable[[], int]] = {
        "ingest": lambda: ingest_once(files, rules),
        "ingest, default rules": lambda: ingest_once(files, replace_frames(rules)),
        "plain pydicom": lambda: decode_plainly(files),
    }
    frames = {name: side() for name, side in sides.items()}  # warm
    if len(set(frames.values())) != 1:
        raise BenchmarkError(f"the sides count different frames: {frames}")
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for repetition in range(repetitions):
        for name, side in sides.items():
            start = time.process_time()
            side()
            seconds[name].append(time.process_time() - start)
        print(f"repetition {repetition + 1} of {repetitions}", file=sys.stderr)
    count = frames["ingest"]
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "frames": count,
        "files": len(files),
        "size": [pydicom.dcmread(files[0], stop_before_pixels=True)[name].value for name in ("Rows", "Columns")],
        "frames_per_cpu_second": {name: round(count / value, 1) for name, value in medians.items()},
        "ratio_to_plain_pydicom": {
            name: round(medians["plain pydicom"] / medians[name], 2) for name in ("ingest", "ingest, default rules")
        },
        "cpu_s": {name: [round(value, 3) for value in values] for name, values in seconds.items()},
        "pydicom_chose_from": list(get_decoder(_syntax(files[0])).available_plugins),
    }


def replace_frames(rules: IngestRules) -> IngestRules:
    """The same rules with the default number of frames."""
    return rules.model_copy(update={"max_frames": IngestRules().max_frames})


def find_real_clip() -> list[Path]:
    """The clip of pydicom-data (480 x 640, 120 frames), where it is installed."""
    spec = importlib.util.find_spec("data_store")
    path = Path(spec.origin).parent / "data" / "color3d_jpeg_baseline.dcm" if spec and spec.origin else Path()
    return [path] if path.is_file() else []


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path, metavar="FILE", help="DICOM files to use instead")
    parser.add_argument("--frames", type=int, default=60, help="length of a phantom clip")
    parser.add_argument("--files", type=int, default=4, help="how many phantom clips")
    parser.add_argument("--size", type=int, default=512, help="height and width of a phantom clip in pixels")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file as well")
    choices = parser.parse_args()
    cv2.setNumThreads(1)
    found: dict[str, Any] = {"echoapex": __version__, "pydicom": pydicom.__version__}
    try:
        if choices.paths:
            found["given files"] = compare(choices.paths, choices.repetitions)
        else:
            with tempfile.TemporaryDirectory() as folder:
                options = {"frames": choices.frames, "size": choices.size, "instances": choices.files}
                found["phantom, JPEG baseline"] = compare(write_a4c(Path(folder), **options), choices.repetitions)
            if real := find_real_clip():
                found["color3d_jpeg_baseline.dcm"] = compare(real, choices.repetitions)
    except ValueError as error:
        print(f"ingest_speed: {error}", file=sys.stderr)
        return 1
    found["conditions"] = {
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "load_at_end": [round(load, 2) for load in os.getloadavg()],
    }
    tell_figures(found, choices.out)
    return 0


def _frame_count(pixels: Any, path: Path) -> int:
    frames = int(pydicom.dcmread(path, stop_before_pixels=True).get("NumberOfFrames", 1))
    return frames if frames > 1 and len(pixels) == frames else 1


def _syntax(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)


if __name__ == "__main__":
    raise SystemExit(main())
