from __future__ import annotations

import numpy as np
from infer.conftest import AnalysedStudy
from PIL import Image

from echoapex.infer.outputs.clip_pictures import TILE_HEIGHT, TILE_SCALE, TILE_WIDTH
from echoapex.io.video import open_video


def test_every_clip_has_an_overlay_of_all_its_frames(analysed: AnalysedStudy) -> None:
    for clip in analysed.report.clips:
        source = open_video(analysed.out / "overlays" / f"{clip.clip_id}.mp4")
        assert source.header.frame_count == clip.frames
        assert clip.frame_rate_hz is not None
        assert abs(1 / np.median(np.diff(source.header.frame_times_s)) - clip.frame_rate_hz) < 0.5


def test_overlays_are_coloured_where_structures_are(analysed: AnalysedStudy) -> None:
    clip = analysed.report.clips[0]
    frame = next(iter(open_video(analysed.out / "overlays" / f"{clip.clip_id}.mp4").frames())).astype(int)
    image = frame[74:554]
    assert (image.max(axis=2) - image.min(axis=2) > 40).mean() > 0.005


def test_every_clip_has_a_tile(analysed: AnalysedStudy) -> None:
    for clip in analysed.report.clips:
        tile = Image.open(analysed.out / "clips" / f"{clip.clip_id}.png")
        assert tile.size == (TILE_SCALE * TILE_WIDTH, TILE_SCALE * TILE_HEIGHT)
        assert np.asarray(tile).std() > 10
