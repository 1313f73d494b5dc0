"""Whole clips: truth, determinism, timing and every view."""

import dataclasses
import hashlib

import numpy as np
import pytest

from echoapex.measure.lv_volume import biplane_volume, ejection_fraction_percent, measure_lv_shape
from echoapex.phantom import Imaging, Patient, PhantomError, sample_imaging, sample_patient, simulate_clip
from echoapex.vocabulary import VISIBLE_STRUCTURES, Structure, View

_NOT_IN_THE_PHANTOM = {View.A5C: {Structure.LEFT_ATRIUM}}  # its five-chamber plane passes in front of the atrium


@pytest.mark.parametrize("view", View)
def test_every_view_renders_with_its_structures(view: View) -> None:
    clip = simulate_clip(view, 2, frames=2, label_frames="all", imaging=Imaging(overlay=False, ecg=False))
    assert clip.frames.shape == (2, 256, 256) and clip.frames.dtype == np.uint8
    seen = clip.frames[0] > 0
    outside = np.ones((256, 256), bool)
    x0, y0, x1, y1 = (int(edge + 0.5) for edge in clip.sector.box_xyxy)
    outside[y0:y1, x0:x1] = False
    assert not seen[outside].any() and seen[y0:y1, x0:x1].mean() > 0.3
    assert 15 < clip.frames[0][y0:y1, x0:x1].mean() < 130
    expected = set(VISIBLE_STRUCTURES[view]) - _NOT_IN_THE_PHANTOM.get(view, set())
    missing = {int(s) for s in expected} - set(np.unique(clip.labels[0]).tolist())
    assert not missing


def test_the_same_arguments_give_the_same_bytes() -> None:
    def digest(view: View, seed: int) -> str:
        clip = simulate_clip(view, seed, frames=3, size=112, label_frames="ed_es")
        payload = clip.frames.tobytes() + b"".join(clip.labels[n].tobytes() for n in sorted(clip.labels))
        return hashlib.sha256(payload).hexdigest()

    first = digest(View.A4C, 1)
    assert digest(View.PLAX, 1) != first and digest(View.A4C, 2) != first
    assert digest(View.A4C, 1) == first


def test_defaults_are_the_sampled_patient_and_machine() -> None:
    plain = simulate_clip(View.A2C, 6, frames=1, size=96)
    given = simulate_clip(
        View.A2C, 6, patient=sample_patient(6), imaging=sample_imaging(6, View.A2C), frames=1, size=96
    )
    np.testing.assert_array_equal(plain.frames, given.frames)


def test_volumes_follow_the_ejection_fraction() -> None:
    clip = simulate_clip(View.A4C, 3, frames=64, size=96)
    ed, es = clip.volumes_ml[clip.ed_frame], clip.volumes_ml[clip.es_frame]
    assert ed == pytest.approx(clip.edv_ml)
    assert es == pytest.approx(clip.esv_ml, rel=0.02)
    assert 100 * (clip.edv_ml - clip.esv_ml) / clip.edv_ml == pytest.approx(clip.ejection_fraction_percent)


@pytest.mark.parametrize("seed", [0, 4, 7])
def test_biplane_discs_on_the_labels_find_the_volumes(seed: int) -> None:
    shapes = {}
    for view in (View.A4C, View.A2C):
        clip = simulate_clip(
            view, seed, frames=32, size=128, label_frames="ed_es", jitter=0.0, imaging=Imaging(wing_crop=0.0)
        )
        for name, number in (("ed", clip.ed_frame), ("es", clip.es_frame)):
            labels = clip.labels[number]
            shapes[view, name] = measure_lv_shape(
                labels == Structure.LV_CAVITY, clip.spacing, labels == Structure.LEFT_ATRIUM
            )
    edv, esv = (biplane_volume(shapes[View.A4C, name], shapes[View.A2C, name]).volume_ml for name in ("ed", "es"))
    assert edv == pytest.approx(clip.edv_ml, rel=0.12)
    assert ejection_fraction_percent(edv, esv) == pytest.approx(clip.ejection_fraction_percent, abs=4)


def test_times_phases_and_r_waves_fit_together() -> None:
    patient = Patient(seed=0, heart_rate_bpm=60)
    clip = simulate_clip(View.A4C, 0, patient=patient, frames=30, beats=2.5, start_phase=0.25, size=96)
    np.testing.assert_allclose(np.diff(clip.frame_times_s), 2.5 / 30)
    assert clip.frame_times_s[0] == 0 and clip.phases[0] == pytest.approx(0.25)
    np.testing.assert_allclose(clip.r_wave_times_s, [0.75, 1.75])
    for time in clip.r_wave_times_s:
        nearest = np.argmin(np.abs(clip.frame_times_s - time))
        assert min(clip.phases[nearest], 1 - clip.phases[nearest]) < 0.05
    assert clip.volumes_ml[clip.ed_frame] == clip.volumes_ml.max()


def test_the_machine_sets_the_number_of_frames() -> None:
    patient = Patient(seed=0, heart_rate_bpm=60)
    clip = simulate_clip(View.SUPRASTERNAL, 0, patient=patient, imaging=Imaging(frame_rate_hz=25), size=96)
    assert len(clip.frames) == 25


def test_a_frame_is_the_same_in_a_longer_clip() -> None:
    imaging = Imaging(persistence=0.0, overlay=False, ecg=False)
    short, long = (
        simulate_clip(View.PLAX, 1, imaging=imaging, size=112, frames=n, beats=b) for n, b in ((2, 0.5), (4, 1.0))
    )
    np.testing.assert_array_equal(short.frames, long.frames[:2])


def test_label_frames_can_be_named_or_numbered() -> None:
    assert simulate_clip(View.A4C, 0, frames=3, size=96).labels == {}
    both = simulate_clip(View.A4C, 0, frames=12, size=96, label_frames="ed_es")
    assert set(both.labels) == {both.ed_frame, both.es_frame}
    assert set(simulate_clip(View.A4C, 0, frames=3, size=96, label_frames="all").labels) == {0, 1, 2}
    assert set(simulate_clip(View.A4C, 0, frames=3, size=96, label_frames=[2]).labels) == {2}


def test_the_labelled_cavity_shrinks_with_the_volume() -> None:
    clip = simulate_clip(View.A4C, 5, frames=24, size=128, label_frames="ed_es", imaging=Imaging(wing_crop=0.0))
    area = {n: int((clip.labels[n] == Structure.LV_CAVITY).sum()) for n in clip.labels}
    assert area[clip.es_frame] < area[clip.ed_frame]


def test_the_labelled_cavity_is_dark_and_the_wall_bright() -> None:
    contrast = []
    for seed in range(5):
        clip = simulate_clip(View.A4C, seed, frames=1, label_frames=[0])
        image, labels = clip.frames[0], clip.labels[0]
        contrast.append(image[labels == Structure.LV_MYOCARDIUM].mean() - image[labels == Structure.LV_CAVITY].mean())
    assert min(contrast) > 15 and np.mean(contrast) > 40


def test_grey_blood_and_bright_surroundings_hide_the_cavity_but_not_its_truth() -> None:
    plain = Imaging(wing_crop=0.0, overlay=False, ecg=False)
    hidden = dataclasses.replace(plain, blood_db=-14.0, surroundings_db=12.0, surroundings_reach_mm=80.0)
    clear, grey = (simulate_clip(View.A4C, 3, frames=1, label_frames=[0], imaging=look) for look in (plain, hidden))
    np.testing.assert_array_equal(clear.labels[0], grey.labels[0])
    cavity = clear.labels[0] == Structure.LV_CAVITY
    around = (clear.labels[0] == 0) & (clear.frames[0] > 0)
    assert grey.frames[0][cavity].mean() > clear.frames[0][cavity].mean() + 20
    assert grey.frames[0][around].mean() > clear.frames[0][around].mean() + 20


def test_depth_and_fan_can_be_set_otherwise() -> None:
    plain = Imaging(wing_crop=0.0)
    usual, framed = (
        simulate_clip(View.A4C, 3, frames=1, size=128, imaging=look)
        for look in (plain, dataclasses.replace(plain, depth_factor=0.9, fan_factor=1.2))
    )
    assert framed.spacing.row_mm / usual.spacing.row_mm == pytest.approx(0.9 * _width(1.2) / _width(1.0), rel=0.15)
    x0, y0, x1, y1 = usual.sector.box_xyxy
    wide_x0, wide_y0, wide_x1, wide_y1 = framed.sector.box_xyxy
    assert (wide_x1 - wide_x0) / (wide_y1 - wide_y0) > 1.1 * (x1 - x0) / (y1 - y0)


def _width(fan_factor: float) -> float:
    return float(np.sin(np.radians(79 * fan_factor / 2)))


@pytest.mark.parametrize("size", [96, 112, 300])
def test_any_size_shows_the_same_anatomy(size: int) -> None:
    reference = simulate_clip(View.A4C, 4, frames=1, label_frames=[0], imaging=Imaging(wing_crop=0.0))
    clip = simulate_clip(View.A4C, 4, frames=1, size=size, label_frames=[0], imaging=Imaging(wing_crop=0.0))
    assert clip.frames.shape == (1, size, size)
    area, expected = ((c.labels[0] == Structure.LV_CAVITY).sum() * c.spacing.pixel_area_mm2 for c in (clip, reference))
    assert area == pytest.approx(expected, rel=0.02)


def test_overlays_are_drawn_only_when_asked_for() -> None:
    plain = Imaging(overlay=False, ecg=False, wing_crop=0.0)
    bare, drawn = (
        simulate_clip(View.A4C, 0, imaging=imaging, frames=2)
        for imaging in (plain, dataclasses.replace(plain, overlay=True, ecg=True))
    )
    changed = (bare.frames != drawn.frames).any(0)
    assert changed[:50, :70].any() and changed[200:].any() and changed[:, -6:].any()
    assert changed.mean() < 0.05


@pytest.mark.parametrize(
    "arguments",
    [
        {"size": 64},
        {"frames": 0},
        {"beats": 0.0},
        {"jitter": 5.0},
        {"label_frames": "some"},
        {"frames": 2, "label_frames": [2]},
    ],
)
def test_impossible_arguments_are_refused_with_a_remedy(arguments: dict[str, object]) -> None:
    with pytest.raises(PhantomError, match="give"):
        simulate_clip(View.SUPRASTERNAL, 0, **{"size": 96, **arguments})  # type: ignore[arg-type]
