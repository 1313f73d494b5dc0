"""Machine settings."""

import numpy as np

from echoapex.phantom import sample_imaging, sample_randomized_imaging
from echoapex.phantom.imaging import VENDOR_LOOKS
from echoapex.vocabulary import View


def test_a_seed_is_a_setting() -> None:
    assert sample_imaging(4, View.A4C) == sample_imaging(4, View.A4C)
    assert sample_imaging(4, View.A4C) != sample_imaging(4, View.A2C)


def test_a_seed_keeps_its_machine_in_every_view() -> None:
    for seed in range(20):
        assert len({sample_imaging(seed, view).vendor for view in View}) == 1
    assert {sample_imaging(seed, View.A4C).vendor for seed in range(60)} == set(VENDOR_LOOKS)


def test_poor_images_are_noisy_and_hazy() -> None:
    settings = [sample_imaging(seed, View.A4C) for seed in range(200)]
    quality = [setting.quality for setting in settings]
    for name in ("noise_db", "haze_db", "clutter_db", "dropout"):
        assert np.corrcoef(quality, [getattr(setting, name) for setting in settings])[0, 1] < -0.5


def test_probes_inside_the_body_resolve_more() -> None:
    outside = np.mean([sample_imaging(seed, View.A4C).axial_fwhm_mm for seed in range(50)])
    inside = np.mean([sample_imaging(seed, View.TEE_4C).axial_fwhm_mm for seed in range(50)])
    assert inside < 0.6 * outside


def test_randomized_settings_reach_beyond_the_usual() -> None:
    usual = [sample_imaging(seed, View.A4C) for seed in range(200)]
    randomized = [sample_randomized_imaging(seed, View.A4C) for seed in range(200)]
    assert sample_randomized_imaging(4, View.A4C) == randomized[4]
    for name in ("haze_db", "dynamic_range_db", "gamma", "depth_gain_db", "blood_db", "surroundings_db", "fan_factor"):
        assert np.std([getattr(setting, name) for setting in randomized]) > 1.2 * np.std(
            [getattr(setting, name) for setting in usual]
        )
    assert {setting.vendor for setting in randomized} == {setting.vendor for setting in usual}
