from __future__ import annotations

import numpy as np

from echoapex.domain import ClipReport
from echoapex.domain.results import VolumePoint
from echoapex.infer.outputs.frame_picture import CurveStrip


def test_the_cursor_moves_with_time_and_stays_inside() -> None:
    curve = tuple(
        VolumePoint(frame=n, time_s=n * 0.1, relative=0.6 + 0.4 * float(np.cos(n)), ml=None) for n in range(12)
    )
    clip = ClipReport(
        clip_id="c",
        file="c",
        frames=12,
        size=(8, 8),
        content="b_mode",
        volume_curve=curve,
        ed_frames=(0,),
        es_frames=(3,),
    )
    strip = CurveStrip(clip, 116, 640)
    base = strip.at(-1.0)
    columns = [np.flatnonzero((strip.at(t) != base).any(axis=(0, 2))).mean() for t in (0.1, 0.5, 1.0)]
    assert columns == sorted(columns)
    assert len(set(columns)) == 3
    assert (strip.at(5.0) == base).all()
