"""How many frames a second reach the trainer: by its own thread, and by several loader processes.

    python benchmarks/loader_speed.py [--side 168] [--batches 40] [--workers 0,1,2] [--out FILE]

Augmented frames of simulated clips, as a multitask recipe reads them (``train.loader_workers``). ``alone`` is what one
core makes, in frames per second of its processor time. The other figures are of the wall clock, after the first quarter
of the batches; the process that takes them does nothing else, as one that trains on a GPU.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from figures_file import tell_figures

from echoapex.data.batch import prefetched
from echoapex.data.frame_source import FrameSource, FrameSourceConfig
from echoapex.data.stores.clip_store import ClipStore
from echoapex.data.stores.phantom_store import PhantomStoreConfig, draw_phantom_store
from echoapex.vocabulary import View


def measure(side: int, batches: int, workers: Sequence[int], batch_size: int = 24) -> dict[str, Any]:
    """Frames per second, alone and by number of loader processes."""
    clips = PhantomStoreConfig(patients=4, views=(View.A4C, View.PLAX), frames=2, labelled=2, native_size=192, size=192)
    with tempfile.TemporaryDirectory() as folder:
        draw_phantom_store(clips, Path(folder) / "clips")
        config = FrameSourceConfig(batch_size=batch_size, sizes=((0, side),))
        source = FrameSource([ClipStore(Path(folder) / "clips")], config)
        began = time.process_time()
        for step in range(4):
            source.batch(step)
        alone = 4 * batch_size / (time.process_time() - began)
        rates = {str(count): _rate(source, batches, count, batch_size) for count in workers}
    return {"side": side, "alone_frames_per_cpu_s": round(alone, 1), "frames_per_s_by_workers": rates}


def _rate(source: FrameSource, batches: int, workers: int, batch_size: int) -> float:
    """Frames per second from the first quarter of the batches to the last."""
    first = max(1, batches // 4)
    began = time.perf_counter()
    for step, _ in enumerate(prefetched(source, 0, batches, workers)):
        if step + 1 == first:
            began = time.perf_counter()
    return round((batches - first) * batch_size / (time.perf_counter() - began), 1)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=168)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--workers", default="0,1,2")
    parser.add_argument("--out", type=Path, default=None)
    chosen = parser.parse_args(arguments)
    tell_figures(measure(chosen.side, chosen.batches, [int(count) for count in chosen.workers.split(",")]), chosen.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
