"""The batch of a step depends on the step alone, is balanced over views, and its truth lies on its pixels."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_clips import DRAWN_STRUCTURES, LABEL_FRAMES, draw_clip, draw_store
from pydantic import ValidationError

from echoapex.data.augment import AugmentConfig
from echoapex.data.batch import FrameBatch
from echoapex.data.frame_source import FrameSource, FrameSourceConfig, HeldBackFrames, whole_frames
from echoapex.data.stores.clip_store import ClipStore, write_shard
from echoapex.vocabulary import Structure, View

PLAIN = AugmentConfig(**dict.fromkeys(AugmentConfig.model_fields, 0.0))
A4C, PLAX = list(View).index(View.A4C), list(View).index(View.PLAX)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ClipStore:
    return draw_store(tmp_path_factory.mktemp("store"), clips=6, size=64)


def config(**changes: object) -> FrameSourceConfig:
    return FrameSourceConfig(**{"batch_size": 8, "sizes": ((0, 64),), **changes})


def equal(first: FrameBatch, second: FrameBatch) -> bool:
    return all(torch.equal(getattr(first, f.name), getattr(second, f.name)) for f in fields(first))


def test_a_step_gives_its_batch_whatever_came_before(store: ClipStore) -> None:
    source = FrameSource([store], config())
    straight = [source.batch(step) for step in range(3)]
    resumed = FrameSource([store], config()).batch(2)
    assert equal(straight[2], resumed)
    assert not equal(straight[0], straight[1])
    assert not equal(straight[0], FrameSource([store], config(seed=1)).batch(0))


def test_a_batch_has_the_shapes_of_its_step(store: ClipStore) -> None:
    source = FrameSource([store], config(sizes=((0, 32), (2, 64))))
    assert [source.batch(step).pixels.shape for step in (0, 1, 2, 9)] == [(8, 32, 32)] * 2 + [(8, 64, 64)] * 2
    batch = source.batch(0)
    assert batch.labels.shape == (8, 32, 32)
    assert batch.structure_known.shape == (8, len(Structure))


def test_images_become_harder_from_a_step_on(store: ClipStore) -> None:
    harder = AugmentConfig(**{**PLAIN.model_dump(), "clutter": 0.8, "clutter_probability": 1.0})
    later = config(augment=PLAIN, later_augment={2: harder, 5: PLAIN})
    assert [later.augment_at(step) is harder for step in range(7)] == [False, False, True, True, True, False, False]
    source, plain = FrameSource([store], later), FrameSource([store], config(augment=PLAIN))
    changed = [not torch.equal(source.batch(step).pixels, plain.batch(step).pixels) for step in range(7)]
    assert changed == [False, False, True, True, True, False, False]
    assert torch.equal(source.batch(2).labels, plain.batch(2).labels), "labels are not touched by clutter"


def test_views_take_turns_and_emphasis_gives_more(store: ClipStore) -> None:
    even = FrameSource([store], config()).batch(0).view.tolist()
    assert even.count(A4C) == even.count(PLAX) == 4
    tilted = FrameSource([store], config(emphasis={View.PLAX: 3})).batch(0).view.tolist()
    assert (tilted.count(A4C), tilted.count(PLAX)) == (2, 6)


def test_several_stores_are_one(store: ClipStore, tmp_path: Path) -> None:
    more = draw_store(tmp_path, clips=3, first=100)
    source = FrameSource([store, more], config(batch_size=18, augment=PLAIN))
    shown = {image.numpy().tobytes() for image in source.batch(0).pixels}
    of_second = {np.asarray(more.frames(clip)[frame]).tobytes() for clip in range(3) for frame in range(4)}
    assert shown & of_second
    assert shown - of_second


def test_unaugmented_pixels_labels_and_points_are_those_of_the_store(store: ClipStore) -> None:
    batch = FrameSource([store], config(batch_size=24, augment=PLAIN)).batch(0)
    frames = {np.asarray(store.frames(c)[f]).tobytes(): (c, f) for c in range(len(store)) for f in range(4)}
    for row in range(24):
        clip, frame = frames[batch.pixels[row].numpy().tobytes()]
        assert frame in LABEL_FRAMES
        labels = store.labels(clip)[LABEL_FRAMES.index(frame)]
        assert np.array_equal(batch.labels[row].numpy(), labels)
        assert batch.view[row] == store.truth["view"][clip]
        known = [structure for structure in Structure if batch.structure_known[row, structure - 1]]
        assert known == list(DRAWN_STRUCTURES)
        assert bool(batch.has_walls[row]) == (store.truth["wall_frame"][clip] == frame)
        if batch.has_walls[row]:
            assert np.allclose(batch.wall_points[row].numpy(), store.truth["wall_points"][clip])
    assert batch.wall_points.isfinite().all(), "unknown points are not NaN, which would poison a loss"


def test_augmented_wall_points_stay_on_the_wall(store: ClipStore) -> None:
    geometry = AugmentConfig().model_dump() | {"sector_probability": 0.0, "shadow_probability": 0.0}
    source = FrameSource([store], config(batch_size=16, wall_probability=1.0, augment=AugmentConfig(**geometry)))
    batch = source.batch(3)
    rows = torch.nonzero(batch.has_walls)[:, 0].tolist()
    assert len(rows) == 8
    for row in rows:
        septum_lv_side, posterior_lv_side = batch.wall_points[row, 1].numpy(), batch.wall_points[row, 2].numpy()
        x, y = np.rint((septum_lv_side + posterior_lv_side) / 2).astype(int)
        assert batch.labels[row, y, x] == Structure.LV_CAVITY
        x, y = np.rint((batch.wall_points[row, 0].numpy() + septum_lv_side) / 2).astype(int)
        assert batch.labels[row, y, x] == Structure.LV_MYOCARDIUM


@pytest.mark.parametrize(("probability", "expected"), [(0.0, {0, 2}), (1.0, {0})])
def test_wall_probability_decides_which_frame_of_a_parasternal_clip(
    store: ClipStore, probability: float, expected: set[int]
) -> None:
    source = FrameSource([store], config(batch_size=32, wall_probability=probability, augment=PLAIN))
    batch = source.batch(0)
    frames = {np.asarray(store.frames(c)[f]).tobytes(): f for c in range(len(store)) for f in range(4)}
    shown = {frames[batch.pixels[row].numpy().tobytes()] for row in range(32) if batch.view[row] == PLAX}
    assert shown == expected


def unlabelled_store(directory: Path) -> ClipStore:
    """One clip of which nothing is known, not even the view."""
    pixels, labels, truth = draw_clip(0, frames=4, size=64)
    truth |= {"view": -1, "label_frames": [-1, -1], "known_structures": 0}
    rows = {name: np.asarray(value)[None] for name, value in truth.items()}
    write_shard(directory / "shard-0", pixels[None], labels[None], rows)
    return ClipStore(directory)


def test_an_unlabelled_clip_gives_any_frame_and_claims_nothing(tmp_path: Path) -> None:
    store = unlabelled_store(tmp_path)
    batch = FrameSource([store], config(batch_size=32, augment=PLAIN)).batch(0)
    assert len({image.numpy().tobytes() for image in batch.pixels}) == 4
    assert not batch.structure_known.any()
    assert not batch.labels.any()
    assert not batch.has_walls.any()
    assert (batch.view == -1).all()


def test_whole_frames_are_the_clip_at_model_size(store: ClipStore) -> None:
    assert np.array_equal(whole_frames(store, 1, 64), store.frames(1))
    smaller = whole_frames(store, 1, 32)
    assert smaller.shape == (4, 32, 32)
    assert smaller.mean() == pytest.approx(np.asarray(store.frames(1)).mean(), rel=0.05)


def test_frames_of_a_clip_come_together_and_are_seen_by_one_scanner(store: ClipStore) -> None:
    quiet = AugmentConfig().model_copy(update={"noise": 0.0})
    batch = FrameSource([store], config(batch_size=12, frames_per_clip=2, wall_probability=0.0, augment=quiet)).batch(1)
    assert batch.clip.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    for first in range(0, 12, 2):
        assert batch.view[first] == batch.view[first + 1]
        assert not torch.equal(batch.pixels[first], batch.pixels[first + 1])
        assert torch.allclose(batch.wall_points[first], batch.wall_points[first + 1])


def test_every_frame_knows_its_volume(store: ClipStore) -> None:
    batch = FrameSource([store], config(batch_size=24, frames_per_clip=2, augment=PLAIN)).batch(0)
    frames = {np.asarray(store.frames(c)[f]).tobytes(): (c, f) for c in range(len(store)) for f in range(4)}
    for row in range(24):
        clip, frame = frames[batch.pixels[row].numpy().tobytes()]
        assert batch.relative_volume[row].item() == pytest.approx(store.truth["relative_volume"][clip][frame])


def test_a_batch_holds_whole_clips() -> None:
    with pytest.raises(ValidationError, match="no multiple of frames_per_clip"):
        config(batch_size=9, frames_per_clip=2)


def test_validation_shows_every_frame_with_truth_exactly_once_and_as_it_is(store: ClipStore) -> None:
    source = HeldBackFrames(store, 64, batch_size=5)
    batches = [source.batch(step) for step in range(len(source))]
    shown = sorted(image.numpy().tobytes() for batch in batches for image in batch.pixels)
    truth = store.truth
    wanted = [
        np.asarray(store.frames(clip)[frame]).tobytes()
        for clip in range(len(store))
        for frame in sorted({*truth["label_frames"][clip], *([0] if truth["wall_frame"][clip] == 0 else [])})
    ]
    assert shown == sorted(wanted)
    assert source.frames == len(wanted)
    assert all(len(batch) <= 5 for batch in batches)
    assert sum(int(batch.has_walls.sum()) for batch in batches) == int((truth["wall_frame"] >= 0).sum())
    clips = [np.unique(batch.clip.numpy(), return_counts=True)[1] for batch in batches]
    assert sum(len(counts) for counts in clips) == len(store), "a clip is never split over batches"


def test_of_a_clip_whose_view_alone_is_known_every_frame_is_judged(tmp_path: Path) -> None:
    source = HeldBackFrames(unlabelled_store(tmp_path), 32, batch_size=2)
    assert (len(source), source.frames) == (1, 4)
    assert source.batch(0).pixels.shape == (4, 32, 32)


def test_shares_of_processes_are_the_batch(store: ClipStore) -> None:
    source = FrameSource([store], config(batch_size=12, frames_per_clip=2))
    whole = source.batch(3)
    parts = [source.share(rank, 3).batch(3) for rank in range(3)]
    for name in ("pixels", "labels", "clip", "view", "relative_volume"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name
    with pytest.raises(ValueError, match=r"a batch of 6 .* cannot be divided evenly among 4 processes"):
        source.share(0, 4)
