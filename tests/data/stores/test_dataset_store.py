"""Clips of data sets prepared for training: which frames, which truth, and whose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_clip_folder import outline_tiny_clip_folder, write_tiny_clip_folder
from tiny_echonet_dynamic import write_tiny_echonet_dynamic

from echoapex.data.datasets import DATASETS, DatasetError
from echoapex.data.stores.clip_store import ClipStore
from echoapex.data.stores.dataset_store import DatasetStoreConfig, choose_rows, write_dataset_store
from echoapex.vocabulary import Structure, View


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("marks", [[], [40, 55], [0, 99], [98, 99]])
def test_marked_rows_are_always_chosen_within_the_span(marks: list[int], seed: int) -> None:
    times_s = np.arange(100) / 50
    config = DatasetStoreConfig(frames=6, span_s=0.6)
    rows = choose_rows(times_s, marks, config, np.random.default_rng(seed))
    assert len(rows) == 6
    assert (np.diff(rows) >= 0).all()
    assert set(marks) <= set(rows.tolist())
    assert 0 <= rows[0] <= rows[-1] <= 99
    if not marks or marks[-1] - marks[0] < 30:
        assert times_s[rows[-1]] - times_s[rows[0]] <= 0.6 + 1e-9


def test_the_beginning_varies_and_a_short_clip_repeats_frames() -> None:
    times_s, config = np.arange(100) / 50, DatasetStoreConfig(frames=4, span_s=0.5)
    firsts = {int(choose_rows(times_s, [], config, np.random.default_rng(seed))[0]) for seed in range(10)}
    assert len(firsts) > 3
    assert choose_rows(times_s[:2], [1], config, np.random.default_rng(0)).tolist() == [0, 0, 1, 1]


def test_ejection_fraction_and_the_two_traced_volumes_are_kept(tmp_path: Path) -> None:
    clips = write_tiny_echonet_dynamic(tmp_path)
    records = list(DATASETS["echonet_dynamic"].open(tmp_path).records())
    told: list[tuple[int, int]] = []
    write_dataset_store(
        records, DatasetStoreConfig(frames=6, size=64), tmp_path / "store", lambda *done: told.append(done)
    )
    store = ClipStore(tmp_path / "store")
    assert told[-1] == (4, 4)
    assert store.frames(0).shape == (6, 64, 64)
    assert store.frames(0).std() > 5
    truth = [clips[record.name].ejection_fraction_percent for record in records]
    np.testing.assert_allclose(store.truth["ef_percent"], truth, atol=1e-5)
    assert store.truth["view"].tolist() == [list(View).index(View.A4C)] * 4
    assert store.truth["patient"].tolist() == [0, 1, 2, 3]
    for volumes, ef_percent in zip(store.truth["relative_volume"], truth, strict=True):
        known = sorted(set(volumes[np.isfinite(volumes)].tolist()))
        assert known == pytest.approx([1 - ef_percent / 100, 1.0])
    write_dataset_store([], DatasetStoreConfig(), tmp_path / "store")  # a finished store is not written again


def test_a_damaged_clip_is_named(tmp_path: Path) -> None:
    write_tiny_clip_folder(tmp_path)
    (tmp_path / "ward 1" / "clip1.avi").write_bytes(b"no video")
    records = list(DATASETS["folder"].open(tmp_path).records())
    with pytest.raises(DatasetError, match=r"ward 1/clip1\.avi: .*download it again"):
        write_dataset_store(records, DatasetStoreConfig(frames=2, size=64), tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_what_an_interrupted_call_has_finished_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echoapex.data.stores.dataset_store._CLIPS_PER_SHARD", 1)
    write_tiny_clip_folder(tmp_path)
    records, config = list(DATASETS["folder"].open(tmp_path).records()), DatasetStoreConfig(frames=2, size=64)
    write_dataset_store(records, config, tmp_path / "at_once")

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset_store(records, config, tmp_path / "store", interrupt)
    records[0].path.unlink()  # prepared already: it is not opened again
    told: list[tuple[int, int]] = []
    write_dataset_store(records, config, tmp_path / "store", lambda *done: told.append(done))
    assert told == [(1, 3), (2, 3), (3, 3)]
    at_once, resumed = ClipStore(tmp_path / "at_once"), ClipStore(tmp_path / "store")
    for clip in range(3):
        np.testing.assert_array_equal(resumed.frames(clip), at_once.frames(clip))
    for name, values in at_once.truth.items():
        np.testing.assert_array_equal(resumed.truth[name], values)


def test_label_maps_are_kept_beside_their_frames(tmp_path: Path) -> None:
    clips = write_tiny_clip_folder(tmp_path)
    outline_tiny_clip_folder(tmp_path, clips, frames=(0, 1, 3))
    records = list(DATASETS["folder"].open(tmp_path).records())
    write_dataset_store(records, DatasetStoreConfig(frames=4, labelled=2, size=96), tmp_path / "store")
    store = ClipStore(tmp_path / "store")
    assert store.truth["label_frames"].tolist() == [[0, 3]] * 3, "the first and the last of three outlined frames"
    assert set(store.truth["known_structures"]) == {1 << Structure.LV_CAVITY | 1 << Structure.LEFT_ATRIUM}
    for number, record in enumerate(records):
        cavity = clips[record.name].labels[3] == Structure.LV_CAVITY
        kept = store.labels(number)[1] == Structure.LV_CAVITY
        assert kept.sum() == pytest.approx(cavity.sum(), rel=0.25)
        assert (
            store.frames(number)[3][kept].mean() < store.frames(number)[3][~kept & (store.frames(number)[3] > 0)].mean()
        )


def test_more_label_maps_than_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="labelled is 3, but only 2 frames are kept"):
        DatasetStoreConfig(frames=2, labelled=3)
