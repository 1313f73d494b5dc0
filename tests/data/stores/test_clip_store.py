"""A store gives back what was written, shows only finished shards, and refuses what does not fit together."""

from pathlib import Path

import numpy as np
import pytest
from drawn_clips import draw_clip, draw_store, write_drawn_shard

from echoapex.data.stores.clip_store import TRUTH_FIELDS, ClipStore, write_shard


def test_clips_of_all_shards_come_back_in_order(tmp_path: Path) -> None:
    store = draw_store(tmp_path, clips=7)
    assert len(store) == 9, "three shards of three"
    for clip in range(9):
        pixels, labels, truth = draw_clip(clip, frames=4, size=64)
        assert np.array_equal(store.frames(clip), pixels)
        assert np.array_equal(store.labels(clip), labels)
        for name in TRUTH_FIELDS:
            assert np.array_equal(store.truth[name][clip], np.asarray(truth[name]), equal_nan=True), name


def test_pixels_are_read_through_the_disk_and_cannot_be_changed(tmp_path: Path) -> None:
    frames = draw_store(tmp_path).frames(4)
    assert isinstance(frames, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        frames[0, 0, 0] = 1


@pytest.mark.parametrize("change", ["missing", "short"])
def test_incomplete_truth_is_refused_and_leaves_nothing(tmp_path: Path, change: str) -> None:
    pixels, labels, truth = draw_clip(0, frames=4, size=32)
    rows = {name: np.asarray(value)[None] for name, value in truth.items()}
    if change == "missing":
        del rows["ef_percent"]
    else:
        rows["ef_percent"] = rows["ef_percent"][:0]
    with pytest.raises(ValueError, match="shard-0: truth field 'ef_percent' is missing or has not one row per clip"):
        write_shard(tmp_path / "shard-0", pixels[None], labels[None], rows)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_shard_is_not_seen_and_is_written_again(tmp_path: Path) -> None:
    draw_store(tmp_path, clips=3)
    interrupted = tmp_path / "shard-00001.partial"
    write_drawn_shard(interrupted, range(3, 6))
    (interrupted / "leftover").touch()
    assert len(ClipStore(tmp_path)) == 3
    write_drawn_shard(tmp_path / "shard-00001", range(3, 6))
    assert len(ClipStore(tmp_path)) == 6
    assert not interrupted.exists()
    assert {path.name for path in (tmp_path / "shard-00001").iterdir()} == {"frames.npy", "labels.npy", "truth.npz"}


def test_an_empty_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no shard of prepared clips; draw or ingest them first"):
        ClipStore(tmp_path)


@pytest.mark.parametrize("shape", [{"frames": 3}, {"size": 48}])
def test_shards_of_different_clips_are_refused(tmp_path: Path, shape: dict[str, int]) -> None:
    draw_store(tmp_path, clips=3)
    write_drawn_shard(tmp_path / "shard-00001", range(3, 6), **shape)
    with pytest.raises(ValueError, match="shards differ in frame count or size"):
        ClipStore(tmp_path)
