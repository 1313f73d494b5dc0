"""Absent by view: what a view cannot show is known to be absent, what it may show is not."""

import numpy as np

from echoapex.data.frame_source import AbsentByView, FrameSource, FrameSourceConfig
from echoapex.vocabulary import Structure, View


class _Store:
    """An A2C with the cavity outlined on frame 1, a PSAX without outlines, a clip of unknown view."""

    def __init__(self) -> None:
        self.truth = {
            "view": np.array([list(View).index(View.A2C), list(View).index(View.PSAX_PM), -1]),
            "label_frames": np.array([[1], [-1], [-1]]),
            "known_structures": np.array([1 << Structure.LV_CAVITY, 0, 0]),
            "wall_frame": np.full(3, -1),
            "wall_points": np.full((3, 4, 2), np.nan),
            "relative_volume": np.full((3, 2), np.nan),
        }

    def __len__(self) -> int:
        return 3

    def frames(self, clip: int) -> np.ndarray:
        return np.full((2, 32, 32), 50, np.uint8)

    def labels(self, clip: int) -> np.ndarray:
        return np.full((1, 32, 32), int(Structure.LV_CAVITY) if clip == 0 else 0, np.uint8)


def known(store: AbsentByView, clip: int) -> set[Structure]:
    bits = int(store.truth["known_structures"][clip])
    return {structure for structure in Structure if bits >> structure & 1}


def test_what_the_view_cannot_show_is_known_and_nothing_else() -> None:
    store = AbsentByView(_Store())
    right_heart_and_root = {Structure.RIGHT_VENTRICLE, Structure.RIGHT_ATRIUM, Structure.AORTIC_ROOT}
    assert known(store, 0) == {Structure.LV_CAVITY} | right_heart_and_root
    assert known(store, 1) == {Structure.LEFT_ATRIUM, Structure.RIGHT_ATRIUM, Structure.AORTIC_ROOT}
    assert known(store, 2) == set()


def test_outlines_stay_and_unoutlined_frames_become_labelled() -> None:
    store = AbsentByView(_Store())
    assert store.truth["label_frames"].tolist() == [[1, -1], [0, 1], [-1, -1]]
    assert (store.labels(0)[0] == Structure.LV_CAVITY).all() and not store.labels(1).any()
    assert len(store) == 3 and store.frames(1).shape == (2, 32, 32)


def test_a_frame_source_reads_it_as_it_reads_a_store() -> None:
    batch = FrameSource([AbsentByView(_Store())], FrameSourceConfig(batch_size=12, sizes=((0, 32),))).batch(0)
    of_psax = batch.view == list(View).index(View.PSAX_PM)
    assert of_psax.any()
    assert batch.structure_known[of_psax][:, Structure.LEFT_ATRIUM - 1].all()
    assert not batch.structure_known[of_psax][:, Structure.LV_CAVITY - 1].any()
    assert not batch.structure_known[batch.view < 0].any()
