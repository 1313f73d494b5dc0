"""Clips encoded once: the encoder's own tokens, resumable, and batches that fit their truth."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_clips import draw_store
from tiny_tasks import IMAGE_SIZE, TinyTasks

from echoapex.data.frame_source import whole_frames
from echoapex.data.stores.clip_store import ClipStore
from echoapex.models.encoder import encode_clip
from echoapex.recipes.ejection_fraction_clips import (
    ClipBatches,
    FrozenFeatureConfig,
    FrozenFeatures,
    WholeClips,
    ef_level_groups,
    write_features,
)

CONFIG = FrozenFeatureConfig(size=IMAGE_SIZE, variants=2, batch_size=4, frames=(2, 3))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ClipStore:
    return draw_store(tmp_path_factory.mktemp("store"), clips=3, frames=4)


@pytest.fixture(scope="module")
def features(tasks: TinyTasks, store: ClipStore, tmp_path_factory: pytest.TempPathFactory) -> FrozenFeatures:
    path = tmp_path_factory.mktemp("features") / "train.npy"
    write_features(tasks.multitask.encoder, store, path, CONFIG)
    return FrozenFeatures(store, path, CONFIG)


def test_the_first_variant_is_plain_and_the_others_are_augmented(
    tasks: TinyTasks, store: ClipStore, features: FrozenFeatures
) -> None:
    assert len(features) == 6
    for clip in range(3):
        pixels = whole_frames(store, clip, IMAGE_SIZE)
        times_s = store.truth["times_s"][clip]
        plain = encode_clip(tasks.multitask.encoder, (11,), pixels, times_s).tokens[0].patches.float()
        # training clips are encoded in bf16, whose rounding is far below what augmentation changes
        assert torch.allclose(features.clip(2 * clip).patches[0], plain, atol=0.1)
        assert not torch.allclose(features.clip(2 * clip + 1).patches[0], plain, atol=0.5)


def test_a_batch_has_frames_in_order_with_their_own_truth(store: ClipStore, features: FrozenFeatures) -> None:
    everything = {
        tuple(features.clip(row).patches[0, f, 0, :4].tolist()): (row, f) for row in range(6) for f in range(4)
    }
    for step in range(6):
        batch = ClipBatches([features], CONFIG).batch(step)
        clips, count = batch.times_s.shape
        assert clips == 4
        assert count in (2, 3)
        assert batch.frame_mask.all()
        assert (batch.times_s[:, 0] == 0).all()
        for number in range(clips):
            found = [everything[tuple(batch.patches[number, f, 0, :4].tolist())] for f in range(count)]
            assert len({row for row, _ in found}) == 1
            clip, frames = found[0][0] // 2, [frame for _, frame in found]
            assert frames == sorted(set(frames))
            truth = {name: values[clip] for name, values in store.truth.items()}
            assert batch.ef_percent[number] == pytest.approx(truth["ef_percent"])
            assert batch.relative_volume[number].tolist() == pytest.approx(truth["relative_volume"][frames])
            assert batch.times_s[number].tolist() == pytest.approx(
                truth["times_s"][frames] - truth["times_s"][frames[0]]
            )


def test_a_step_gives_its_batch_whatever_came_before(features: FrozenFeatures, store: ClipStore) -> None:
    source = ClipBatches([features], CONFIG)
    for step in range(4):
        source.batch(step)
    again = ClipBatches([FrozenFeatures(store, Path(features._features.filename), CONFIG)], CONFIG).batch(4)
    assert torch.equal(source.batch(4).patches, again.patches)
    assert not torch.equal(source.batch(5).ef_percent, again.ef_percent)


def test_more_frames_than_a_clip_has_are_all_its_frames(features: FrozenFeatures) -> None:
    greedy = CONFIG.model_copy(update={"frames": (10, 30)})
    batch = ClipBatches([features], greedy).batch(0)
    assert batch.times_s.shape == (4, 4)


def test_validation_is_every_clip_once_plain_and_whole(features: FrozenFeatures) -> None:
    whole = WholeClips(features)
    assert len(whole) == 3
    for clip in range(3):
        assert torch.equal(whole.batch(clip).patches, features.clip(2 * clip).patches)
    assert torch.equal(whole.batch(3).patches, whole.batch(0).patches)


def test_encoding_that_was_interrupted_goes_on_where_it_was(
    tasks: TinyTasks, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("long")
    store = draw_store(directory / "store", clips=54, frames=1, size=32)
    plain = FrozenFeatureConfig(size=32, variants=1)
    encoder = tasks.multitask.encoder
    write_features(encoder, store, directory / "straight.npy", plain)

    def interrupt(done: int, total: int) -> None:
        if done == 52:
            raise KeyboardInterrupt

    path = directory / "resumed.npy"
    with pytest.raises(KeyboardInterrupt):
        write_features(encoder, store, path, plain, interrupt)
    assert not path.exists(), "a file that is there is complete"
    encoded: list[int] = []
    write_features(encoder, store, path, plain, lambda done, total: encoded.append(done))
    assert encoded == [51, 52, 53, 54]
    assert path.read_bytes() == (directory / "straight.npy").read_bytes()
    assert sorted(p.name for p in directory.glob("resumed*")) == ["resumed.npy"]
    write_features(encoder, store, path, plain, lambda done, total: pytest.fail("encoded again"))
    assert np.load(path).shape == (54, 1, 4, 192)


def test_several_stores_are_one(tasks: TinyTasks, features: FrozenFeatures, tmp_path: Path) -> None:
    more = draw_store(tmp_path / "store", clips=3, frames=4, first=50)
    write_features(tasks.multitask.encoder, more, tmp_path / "more.npy", CONFIG)
    second = FrozenFeatures(more, tmp_path / "more.npy", CONFIG)
    both = ClipBatches([features, second], CONFIG)
    assert len(both) == 12
    drawn = {round(ef, 3) for step in range(3) for ef in both.batch(step).ef_percent.tolist()}
    assert drawn == {round(float(ef), 3) for part in (features, second) for ef in part.ef_percent}


def test_rare_ejection_fractions_take_their_turn() -> None:
    ef_percent = np.array([60.0] * 8 + [10.0, 35.0, np.nan])
    assert ef_level_groups(ef_percent, 1) == [[10], list(range(10))]
    assert ef_level_groups(ef_percent, 4) == [[10], [8], [9], list(range(8))]
    assert ef_level_groups(np.array([50.0, 50.0]), 3) == [[0, 1]]


def test_shares_of_processes_are_the_batch_and_travel_to_them(features: FrozenFeatures) -> None:
    source = ClipBatches([features], CONFIG)
    whole = source.batch(5)
    parts = [pickle.loads(pickle.dumps(source.share(rank, 2))).batch(5) for rank in range(2)]
    assert torch.equal(torch.cat([part.patches for part in parts]), whole.patches)
    assert torch.equal(torch.cat([part.times_s for part in parts]), whole.times_s)
    assert len(pickle.dumps(source)) < features._features.nbytes, "the file is mapped there, not sent"
    with pytest.raises(ValueError, match=r"make task\.features\.batch_size a multiple of 3"):
        source.share(0, 3)
