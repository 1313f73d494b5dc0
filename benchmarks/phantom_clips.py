"""Phantom clips as DICOM for benchmarks: any number of frames from one simulated loop, any number of instances."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from echoapex.domain import Clip, ClipHeader
from echoapex.io.dicom.writer import FictitiousStudy, write_ultrasound
from echoapex.phantom import simulate_clip
from echoapex.vocabulary import View

SEED = 1_900_000
"""A held-out patient, so that shipped weights have not seen the clip."""
LOOP_FRAMES, LOOP_BEATS = 60, 2.0
"""Two whole beats: the loop can be repeated without a jump."""


def write_a4c(folder: Path, *, frames: int = LOOP_FRAMES, size: int = 256, instances: int = 1) -> list[Path]:
    """Write apical four-chamber clips of one fictitious patient, JPEG-compressed as machines store them.

    Args:
        folder: where ``clip-0001.dcm``, ``clip-0002.dcm``... go.
        frames: length of every clip; longer ones repeat the loop, shorter ones take its start.
        size: height and width of a frame in pixels.
        instances: how many clips; each starts one frame later in the loop, so that no two files are equal.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    loop = simulate_clip(View.A4C, SEED, frames=LOOP_FRAMES, beats=LOOP_BEATS, size=size)
    header = ClipHeader(
        clip_id="benchmark",
        size=(size, size),
        frame_times_s=tuple((np.arange(frames) * float(loop.frame_times_s[1])).tolist()),
        spacing=loop.spacing,
        sector=loop.sector,
        heart_rate_bpm=loop.patient.heart_rate_bpm,
    )
    study = FictitiousStudy(SEED)
    written = []
    for instance in range(1, instances + 1):
        rows = (np.arange(frames) + instance - 1) % LOOP_FRAMES
        path = folder / f"clip-{instance:04d}.dcm"
        written.append(write_ultrasound(path, Clip(header, loop.frames[rows]), study, instance=instance))
    return written
