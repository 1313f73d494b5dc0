"""What a frame costs each encoder: CPU seconds of one thread, by size of the network and of the image.

    python benchmarks/encoder_cost.py [--frames 16] [--rounds 5] [--out FILE]

Random weights and frames; the encoder as ``analyze`` runs it (single precision, no gradient). All shapes take turns in
every round, so that a busy machine is unfair to none; given are medians over the rounds, and the ratio to the shape
that ships. Put beside what is measured of trained sets (docs/reference/measured.md) this tells accuracy per CPU second.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from figures_file import tell_figures

from echoapex.models.encoder import EncoderConfig, EncoderSize, VisionTransformer, encode_clip


class Shape(NamedTuple):
    """An encoder and the side of its image in pixels."""

    size: EncoderSize
    patch: int
    side: int

    def __str__(self) -> str:
        return f"{self.size}/{self.patch} at {self.side}"


SHIPPED = Shape("tiny", 16, 192)
SHAPES = (
    *(Shape("tiny", 16, side) for side in (112, 160, 192, 224)),
    *(Shape("small", 16, side) for side in (112, 160, 192, 224)),
    Shape("small", 14, 168),
)


def measure(shapes: Sequence[Shape], frames: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median CPU milliseconds per frame of every shape, and their ratio to the one that ships."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    encoders = {
        shape: VisionTransformer(EncoderConfig(size=shape.size, patch_size=shape.patch, in_channels=1)).eval()
        for shape in shapes
    }
    taken: dict[Shape, list[float]] = {shape: [] for shape in shapes}
    for count in range(rounds + 1):
        for shape, encoder in encoders.items():
            pixels = np.random.default_rng(count).integers(0, 256, (frames, shape.side, shape.side), np.uint8)
            started = time.process_time()
            encode_clip(encoder, (2, 5, 8, 11), pixels, [0.0] * frames)
            if count:  # the first round warms up
                taken[shape].append(1000 * (time.process_time() - started) / frames)
    medians = {shape: statistics.median(values) for shape, values in taken.items()}
    base = medians.get(SHIPPED, medians[shapes[0]])
    return {
        str(shape): {"cpu_ms_per_frame": round(value, 2), "ratio": round(value / base, 2)}
        for shape, value in medians.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=None)
    chosen = parser.parse_args(arguments)
    tell_figures(measure(SHAPES, chosen.frames, chosen.rounds), chosen.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
