"""Probing shows every frame once, unaltered but for its size, with every view in every batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from drawn_clips import draw_store

from echoapex.data.frame_source import ProbeSource
from echoapex.data.stores.frame_reader import ClipStoreReader


def test_batches_hold_every_frame_once_and_every_view(tmp_path: Path) -> None:
    reader = ClipStoreReader([draw_store(tmp_path / "store", clips=6, frames=3)])
    source = ProbeSource(reader, batch_size=8, side=64)
    assert source.batches == 3
    batches = [source.batch(number) for number in range(3)]
    assert sum(len(batch.view) for batch in batches) == 18
    assert torch.cat([batch.clip for batch in batches]).bincount().tolist() == [3] * 6
    for number, batch in enumerate(batches):
        assert batch.view.unique().numel() == 2
        np.testing.assert_array_equal(batch.pixels[1].numpy(), reader.take([number + 3])[0])
    assert ProbeSource(reader, batch_size=8, side=32).batch(0).pixels.shape == (6, 32, 32)
