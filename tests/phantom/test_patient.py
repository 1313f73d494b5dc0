"""The population of simulated patients."""

import dataclasses

import numpy as np
import pytest

from echoapex.phantom import Patient, sample_patient

POPULATION = [sample_patient(seed) for seed in range(1500)]


def values(name: str) -> np.ndarray:
    return np.array([getattr(patient, name) for patient in POPULATION])


def test_a_seed_is_a_patient() -> None:
    assert sample_patient(7) == sample_patient(7)
    assert sample_patient(7) != dataclasses.replace(sample_patient(8), seed=7)


def test_patients_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        sample_patient(0).edv_ml = 3.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("ejection_fraction_percent", 12, 78),
        ("septum_mm", 6, 20),
        ("posterior_wall_mm", 6, 20),
        ("heart_rate_bpm", 42, 135),
        ("edv_ml", 42, 360),
        ("lv_length_mm", 60, 126),
    ],
)
def test_ranges_hold_and_are_used(name: str, low: float, high: float) -> None:
    found = values(name)
    assert low <= found.min() and found.max() <= high
    spread = np.quantile(found, 0.99) - np.quantile(found, 0.01)
    assert spread > 0.35 * (high - low)


def test_disease_is_present() -> None:
    assert 0.03 < (values("effusion_mm") > 0).mean() < 0.10
    assert 0.10 < (values("wall_motion_deficit") > 0).mean() < 0.40
    assert (values("septum_mm") > 1.3 * values("posterior_wall_mm")).mean() > 0.04  # asymmetric septum
    assert (values("ejection_fraction_percent") < 40).mean() > 0.15


def test_failing_ventricles_are_larger() -> None:
    failing = values("ejection_fraction_percent") < 35
    assert values("edv_ml")[failing].mean() > values("edv_ml")[~failing].mean() + 15


def test_no_regional_abnormality_with_a_normal_ejection_fraction() -> None:
    assert not values("wall_motion_deficit")[values("ejection_fraction_percent") >= 55].any()


def test_weight_gives_back_the_body_surface_by_mosteller() -> None:
    patient = Patient(seed=0, bsa_m2=1.9, height_m=1.76)
    assert np.sqrt(patient.height_m * 100 * patient.weight_kg / 3600) == pytest.approx(1.9)


def test_volumes_and_beat_follow_from_their_definitions() -> None:
    patient = Patient(seed=0, edv_ml=120, ejection_fraction_percent=60, heart_rate_bpm=75)
    assert patient.esv_ml == pytest.approx(48)
    assert patient.beat_s == pytest.approx(0.8)
