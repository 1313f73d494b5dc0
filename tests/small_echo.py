"""Small simulated studies for the tests of the DICOM node: short clips, so that a real analysis takes seconds."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from echoapex.domain import Clip, ClipHeader
from echoapex.io.dicom.writer import FictitiousStudy, write_ultrasound
from echoapex.phantom import simulate_clip
from echoapex.vocabulary import View

SEED = 1_000_021
FRAMES, SIZE = 14, 96


@cache
def _loop(view: View, beats: float) -> Any:
    return simulate_clip(view, SEED, frames=round(FRAMES * beats), beats=beats, size=SIZE)


def write_small_study(
    folder: Path,
    number: int = SEED,
    views: tuple[View, ...] = (View.PLAX,),
    beats: float = 1.0,
    with_ecg: tuple[View, ...] = (),
) -> list[Path]:
    """A study with a clip of each view; studies of different numbers have different UIDs and patients.

    No file names its R waves; the clips of the views ``with_ecg`` carry an ECG.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for instance, view in enumerate(views, 1):
        loop = _loop(view, beats)
        header = ClipHeader(
            clip_id="small",
            size=(SIZE, SIZE),
            frame_times_s=tuple((np.arange(len(loop.frames)) * float(loop.frame_times_s[1])).tolist()),
            spacing=loop.spacing,
            sector=loop.sector,
            ecg=loop.ecg if view in with_ecg else None,
            heart_rate_bpm=loop.patient.heart_rate_bpm,
        )
        path = folder / f"{number}-{view.name}.dcm"
        clip = Clip(header, loop.frames)
        written.append(write_ultrasound(path, clip, FictitiousStudy(number), instance=instance))
    return written
