"""Domain randomization: patients, machines and probe positions beyond the usual."""

from dataclasses import replace

import numpy as np
import pytest

from echoapex.phantom import sample_imaging, sample_patient, sample_randomized_setting, simulate_clip
from echoapex.vocabulary import View


def test_a_seed_is_a_setting() -> None:
    assert sample_randomized_setting(4, View.A4C) == sample_randomized_setting(4, View.A4C)
    assert sample_randomized_setting(4, View.A4C) != sample_randomized_setting(4, View.A2C)


def test_what_is_measured_stays_within_the_population() -> None:
    for seed in range(100):
        randomized, usual = sample_randomized_setting(seed, View.PLAX).patient, sample_patient(seed)
        assert randomized.ejection_fraction_percent == usual.ejection_fraction_percent
        assert randomized.edv_ml == usual.edv_ml
        assert randomized.heart_rate_bpm == usual.heart_rate_bpm
        assert max(randomized.septum_mm, randomized.posterior_wall_mm) <= 20


def test_bodies_depths_and_hands_reach_beyond_the_usual() -> None:
    randomized = [sample_randomized_setting(seed, View.A4C) for seed in range(200)]
    usual = [sample_patient(seed) for seed in range(200)]
    for name in ("rv_size", "la_size", "ra_size", "aorta_size", "equator_position", "ellipticity"):
        spread = np.std([getattr(setting.patient, name) for setting in randomized])
        assert spread > 1.2 * np.std([getattr(patient, name) for patient in usual])
    depths = [setting.imaging.depth_factor for setting in randomized]
    assert min(depths) < 0.8
    assert max(depths) > 1.1
    losses = [setting.imaging.side_loss_db for setting in randomized]
    assert min(losses) < -15
    assert max(losses) > 15
    assert losses.count(0.0) > 60
    assert all(1 <= setting.jitter <= 2 for setting in randomized)


@pytest.mark.parametrize("side", [-1, 1])
def test_contact_is_lost_on_one_side(side: int) -> None:
    imaging = replace(sample_imaging(3, View.A4C), overlay=False, ecg=False, wing_crop=0.0, shadows=0)
    plain = simulate_clip(View.A4C, 3, imaging=imaging, size=96, frames=1).frames[0]
    lossy = simulate_clip(View.A4C, 3, imaging=replace(imaging, side_loss_db=side * 24), size=96, frames=1).frames[0]
    dimmed, kept = (np.s_[:, 56:], np.s_[:, :40]) if side > 0 else (np.s_[:, :40], np.s_[:, 56:])
    assert lossy[dimmed].mean() < 0.8 * plain[dimmed].mean()
    assert lossy[kept].mean() == pytest.approx(plain[kept].mean(), rel=0.05)
