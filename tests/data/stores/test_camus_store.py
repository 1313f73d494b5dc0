"""CAMUS as a store: every clip ED then ES with its outlines; written once, all or nothing."""

from pathlib import Path

import numpy as np
import pytest
from tiny_camus import draw_image, write_tiny_camus

from echoapex.data.datasets.camus import CamusError
from echoapex.data.stores import dataset_store
from echoapex.data.stores.clip_store import ClipStore
from echoapex.data.stores.dataset_store import write_camus_store
from echoapex.vocabulary import Structure, View


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_camus(tmp_path_factory.mktemp("camus"))


def test_chosen_patients_are_written_with_their_outlines(root: Path, tmp_path: Path) -> None:
    write_camus_store(root, "train", slice(1, 3), 64, tmp_path / "store")
    store = ClipStore(tmp_path / "store")
    truth = store.truth
    assert truth["patient"].tolist() == [2, 2, 3, 3]
    assert [list(View)[view] for view in truth["view"]] == [View.A4C, View.A2C] * 2
    assert truth["label_frames"].tolist() == [[0, 1]] * 4
    assert (truth["wall_frame"] == -1).all()
    known = {s for s in Structure if truth["known_structures"][0] >> s & 1}
    assert known == {Structure.LV_CAVITY, Structure.LV_MYOCARDIUM, Structure.LEFT_ATRIUM}
    for clip in range(4):
        ed, es = (store.labels(clip) == Structure.LV_CAVITY).sum(axis=(1, 2))
        assert ed > es > 0, "ED comes first"
        assert np.isin(store.labels(clip), [0, 1, 2, 3]).all()
        assert store.frames(clip)[0][store.labels(clip)[0] == Structure.LV_CAVITY].mean() < 60


def test_outlines_keep_their_share_of_the_picture(root: Path, tmp_path: Path) -> None:
    write_camus_store(root, "train", slice(0, 1), 64, tmp_path / "store")
    labels = ClipStore(tmp_path / "store").labels(0)[0]
    _, drawn = draw_image(1, phase=0)
    ratio = [(labels == s).sum() / (labels > 0).sum() / ((drawn == s).sum() / (drawn > 0).sum()) for s in (1, 2, 3)]
    assert ratio == pytest.approx([1, 1, 1], abs=0.05)


def test_a_finished_store_is_not_written_again(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_camus_store(root, "train", slice(0, 1), 64, tmp_path / "store")
    monkeypatch.setattr(dataset_store, "open_camus", lambda root: pytest.fail("read again"))
    write_camus_store(root, "train", slice(0, 1), 64, tmp_path / "store")


def test_an_interrupted_store_starts_anew(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_store, "_CLIPS_PER_SHARD", 1)
    write, written = dataset_store._write, []

    def interrupted(*given: object) -> None:
        if len(written) == 1:
            written.append("stop")
            raise KeyboardInterrupt
        written.append("shard")
        write(*given)

    monkeypatch.setattr(dataset_store, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_camus_store(root, "train", slice(0, 1), 64, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    write_camus_store(root, "train", slice(0, 1), 64, tmp_path / "store")
    assert len(ClipStore(tmp_path / "store")) == 2


def test_nobody_to_learn_from_is_said_so(root: Path, tmp_path: Path) -> None:
    with pytest.raises(CamusError, match="none of the chosen patients"):
        write_camus_store(root, "train", slice(9, None), 64, tmp_path / "store")
    assert list(tmp_path.iterdir()) == []
