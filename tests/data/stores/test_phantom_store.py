"""A store of phantom clips: the truth of the simulator, no seed twice, the same bytes in any number of processes."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from echoapex.data.preprocess import prepare_image, prepare_labels
from echoapex.data.stores import phantom_store
from echoapex.data.stores.clip_store import ClipStore
from echoapex.data.stores.phantom_store import PhantomStoreConfig, draw_phantom_store
from echoapex.phantom import PhantomError, sample_randomized_setting, simulate_clip
from echoapex.vocabulary import Structure, View

TINY = PhantomStoreConfig(
    first_seed=40, patients=1, views=(View.A4C, View.PLAX), frames=3, labelled=2, native_size=96, size=64
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("phantom_store")
    draw_phantom_store(TINY, directory)
    return directory


def test_no_two_clips_share_a_seed_and_views_alternate() -> None:
    clips = PhantomStoreConfig(first_seed=100, patients=3).clips()
    assert len({seed for _, seed in clips}) == len(clips) == 54
    assert [view for view, _ in clips[:18]] == list(View)
    assert min(seed for _, seed in clips) == 100


def test_training_keeps_away_from_held_out_seeds() -> None:
    assert PhantomStoreConfig(first_seed=199_982, patients=1).clips()[-1][1] == 199_999
    with pytest.raises(ValidationError, match="leave the training range"):
        PhantomStoreConfig(first_seed=199_983, patients=1)


def test_the_store_holds_what_the_simulator_says(drawn: Path) -> None:
    store = ClipStore(drawn)
    assert len(store) == 2
    for number, (view, seed) in enumerate(TINY.clips()):
        rng = np.random.default_rng([seed, 31])
        beats, phase = float(rng.uniform(*TINY.beats)), float(rng.random())
        clip = simulate_clip(view, seed, size=96, frames=3, beats=beats, start_phase=phase, label_frames=[0, 2])
        prepared, transform = prepare_image(clip.frames[1], clip.sector, 64)
        assert np.array_equal(store.frames(number)[1], prepared)
        assert np.array_equal(store.labels(number)[1], prepare_labels(clip.labels[2], transform))
        truth = {name: values[number] for name, values in store.truth.items()}
        assert list(View)[truth["view"]] is view
        assert truth["patient"] == seed
        assert truth["ef_percent"] == clip.ejection_fraction_percent
        assert truth["label_frames"].tolist() == [0, 2]
        assert np.allclose(truth["relative_volume"] * clip.edv_ml, clip.volumes_ml)
        assert truth["mm_per_px"] == pytest.approx(transform.map_spacing(clip.spacing).row_mm)
        assert all(truth["known_structures"] >> structure & 1 for structure in Structure)


def test_wall_points_are_given_in_plax_only_and_lie_in_the_picture(drawn: Path) -> None:
    truth = ClipStore(drawn).truth
    assert truth["wall_frame"].tolist()[0] == -1
    assert truth["wall_frame"][1] == truth["relative_volume"][1].argmax()
    points = truth["wall_points"][1]
    assert (points > -0.5).all()
    assert (points < 63.5).all()
    assert (np.diff(points[:, 1]) > 0).all(), "from the septum down to the posterior wall"


def test_two_processes_draw_the_same_bytes(drawn: Path, tmp_path: Path) -> None:
    draw_phantom_store(TINY, tmp_path, workers=2)
    for name in ("frames.npy", "labels.npy"):
        assert (tmp_path / "shard-00000" / name).read_bytes() == (drawn / "shard-00000" / name).read_bytes()
    again, before = ClipStore(tmp_path).truth, ClipStore(drawn).truth
    assert all(np.array_equal(again[name], before[name], equal_nan=True) for name in before)


def test_only_missing_shards_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phantom_store, "CLIPS_PER_SHARD", 1)
    jobs: list[tuple[str, list[tuple[View, int]]]] = []

    def record(config: PhantomStoreConfig, path: Path, clips: list[tuple[View, int]]) -> None:
        jobs.append((path.name, clips))
        path.mkdir()

    monkeypatch.setattr(phantom_store, "_draw_shard", record)
    (tmp_path / "shard-00000").mkdir()
    told: list[tuple[int, int]] = []
    draw_phantom_store(TINY, tmp_path, on_shard=lambda done, total: told.append((done, total)))
    assert jobs == [("shard-00001", [TINY.clips()[1]])]
    assert told == [(2, 2)]
    draw_phantom_store(TINY, tmp_path)
    assert len(jobs) == 1


def test_a_patient_without_the_view_gives_way_to_one_of_a_far_off_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def only_far_off(config: PhantomStoreConfig, view: View, seed: int) -> str:
        tried.append(seed)
        if seed < 400_000:
            raise PhantomError("no plane")
        return f"clip of {seed}"

    monkeypatch.setattr(phantom_store, "_simulate_patient", only_far_off)
    assert phantom_store._simulate(TINY, View.A4C, 41) == "clip of 400041"
    assert tried == [41, 200_041, 400_041]
    assert max(tried) < 1_000_000, "held-out seeds are never touched"


def test_a_view_that_nobody_has_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(config: PhantomStoreConfig, view: View, seed: int) -> str:
        assert seed < 1_000_000
        raise PhantomError("no plane")

    monkeypatch.setattr(phantom_store, "_simulate_patient", never)
    with pytest.raises(PhantomError, match=r"view A4C: no plane found for seed 199999 .*choose another first_seed"):
        phantom_store._simulate(TINY, View.A4C, 199_999)


def test_a_share_of_the_clips_comes_from_randomized_settings(tmp_path: Path) -> None:
    usual_folder, randomized = tmp_path / "usual", tmp_path / "randomized"
    for directory, share in ((usual_folder, 0.0), (randomized, 1.0)):
        draw_phantom_store(TINY.model_copy(update={"randomized_share": share}), directory)
    usual, other = ClipStore(usual_folder), ClipStore(randomized)
    for clip in range(len(usual)):
        assert usual.truth["ef_percent"][clip] == other.truth["ef_percent"][clip]
        assert not np.array_equal(usual.frames(clip), other.frames(clip))


def test_wide_clips_have_randomized_bodies_when_asked(tmp_path: Path) -> None:
    randomized = TINY.model_copy(update={"randomized_share": 1.0, "randomized_bodies": True})
    draw_phantom_store(randomized, tmp_path / "randomized")
    drawn = ClipStore(tmp_path / "randomized")
    view, seed = randomized.clips()[0]
    setting = sample_randomized_setting(seed, view)
    rng = np.random.default_rng([seed, 31])
    beats, phase = float(rng.uniform(*TINY.beats)), float(rng.random())
    clip = simulate_clip(
        view, seed, patient=setting.patient, imaging=setting.imaging, jitter=setting.jitter,
        size=96, frames=3, beats=beats, start_phase=phase,
    )  # fmt: skip
    assert np.array_equal(drawn.frames(0)[1], prepare_image(clip.frames[1], clip.sector, 64)[0])
    draw_phantom_store(randomized.model_copy(update={"randomized_share": 0.0}), tmp_path / "usual")
    draw_phantom_store(TINY, tmp_path / "plain")
    usual, plain = ClipStore(tmp_path / "usual"), ClipStore(tmp_path / "plain")
    assert all(np.array_equal(usual.frames(clip), plain.frames(clip)) for clip in range(2))


def drawn_without_and_with(folder: Path, view: View, **change: tuple[float, float]) -> tuple[ClipStore, ClipStore]:
    """The same unusual bodies, and the same with a change of the store's settings."""
    bodies = TINY.model_copy(update={"randomized_share": 1.0, "randomized_bodies": True, "views": (view,)})
    draw_phantom_store(bodies, folder / "without")
    draw_phantom_store(bodies.model_copy(update=change), folder / "with")
    return ClipStore(folder / "without"), ClipStore(folder / "with")


def test_an_inner_layer_thickens_walls_and_apex_and_keeps_the_volume(tmp_path: Path) -> None:
    thin_store, thick_store = drawn_without_and_with(tmp_path, View.A4C, inner_layer_mm=(4.0, 4.0))
    walls = [(store.labels(0)[0] == Structure.LV_MYOCARDIUM).mean() for store in (thin_store, thick_store)]
    assert walls[1] > 1.15 * walls[0]
    assert thin_store.truth["ef_percent"][0] == thick_store.truth["ef_percent"][0]
    apex = [
        np.flatnonzero((store.labels(0)[0] == Structure.LV_CAVITY).any(axis=1))[0]
        for store in (thin_store, thick_store)
    ]
    outer = [
        np.flatnonzero((store.labels(0)[0] == Structure.LV_MYOCARDIUM).any(axis=1))[0]
        for store in (thin_store, thick_store)
    ]
    assert apex[1] - outer[1] > apex[0] - outer[0]


def test_a_probe_that_stands_off_sees_the_same_heart_farther_away(tmp_path: Path) -> None:
    near, far = drawn_without_and_with(tmp_path, View.A4C, standoff_mm=(15.0, 15.0))
    assert near.truth["ef_percent"][0] == far.truth["ef_percent"][0]
    depths_mm = [
        float(store.truth["mm_per_px"][0]) * np.flatnonzero((store.labels(0)[0] > 0).any(axis=1))[0]
        for store in (near, far)
    ]
    assert depths_mm[1] - depths_mm[0] == pytest.approx(15, abs=4)


def test_a_probe_inside_the_body_does_not_stand_off(tmp_path: Path) -> None:
    near, far = drawn_without_and_with(tmp_path, View.ICE_HOME, standoff_mm=(15.0, 15.0))
    assert np.array_equal(near.frames(0), far.frames(0))
