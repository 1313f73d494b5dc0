"""R waves found in synthetic ECGs, whose R waves are known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from drawn_ecgs import DrawnEcg, draw_ecg
from pydicom import dcmread
from pydicom.waveforms.numpy_handler import multiplex_array
from real_files import real_dicom

from echoapex.measure import MeasureError, find_r_waves

RATES_BPM = range(40, 151, 10)
SEEDS = range(3)
TOLERANCE_S = 0.02
EDGE_S = 0.1  # a QRS complex that is cut off there may be missed


def check(ecg: DrawnEcg) -> int:
    """Every R wave is found, nothing else is; how many there are."""
    found = np.array(find_r_waves(ecg.samples, ecg.rate_hz))
    end = len(ecg.samples) / ecg.rate_hz
    whole = [time for time in ecg.r_waves_s if EDGE_S < time < end - EDGE_S]
    missed = [time for time in whole if not found.size or np.abs(found - time).min() > TOLERANCE_S]
    true = np.array(ecg.r_waves_s)
    false = [t for t in found if EDGE_S < t < end - EDGE_S and np.abs(true - t).min() > TOLERANCE_S]
    assert (missed, false) == ([], [])
    return len(whole)


@pytest.mark.parametrize(
    "traits",
    [
        {},
        {"noise": 0.05},
        {"noise": 0.15},
        {"wander": 1.5, "noise": 0.1},
        {"hum": 0.1, "noise": 0.03},
        {"scale": -1.0, "noise": 0.05},
        {"scale": 1e-4, "noise": 0.05},
        {"scale": -4000.0, "noise": 0.05},
        {"t_wave": 0.6, "noise": 0.05},
        {"t_wave": -0.3, "noise": 0.05},
        {"irregularity": 0.2, "noise": 0.05},
        {"rate_hz": 100, "noise": 0.05},
        {"rate_hz": 500, "noise": 0.05},
        {"rate_hz": 5000, "noise": 0.05},
        {"duration_s": 1.6, "noise": 0.05},
        {"duration_s": 20.0, "noise": 0.05},
    ],
    ids=lambda traits: ",".join(f"{name}={value}" for name, value in traits.items()) or "clean",
)
def test_all_r_waves_from_40_to_150_per_minute(traits: dict[str, float]) -> None:
    count = sum(check(draw_ecg(rate, seed=seed, **traits)) for rate, seed in product(RATES_BPM, SEEDS))
    assert count > 3 * len(RATES_BPM)


def test_fifty_samples_a_second_miss_one_in_twenty_at_most() -> None:
    missed = total = 0
    for rate, seed in product(RATES_BPM, SEEDS):
        ecg = draw_ecg(rate, 50, seed=seed, noise=0.03)
        found = np.array(find_r_waves(ecg.samples, 50))
        for time in ecg.r_waves_s:
            if EDGE_S < time < 4 - EDGE_S:
                total += 1
                missed += not found.size or float(np.abs(found - time).min()) > TOLERANCE_S
    assert missed <= 0.05 * total


def test_the_times_are_exact_between_samples() -> None:
    ecg = draw_ecg(70, 250)
    whole = [time for time in ecg.r_waves_s if 0.2 < time < 3.8]
    found = [min(find_r_waves(ecg.samples, 250), key=lambda each, time=time: abs(each - time)) for time in whole]
    assert found == pytest.approx(whole, abs=0.003)


@pytest.mark.parametrize("rate_hz", [100, 250, 1000])
def test_noise_has_hardly_ever_r_waves(rate_hz: int) -> None:
    noises = [np.random.default_rng(seed).standard_normal(3 * rate_hz) for seed in range(60)]
    assert sum(bool(find_r_waves(noise, rate_hz)) for noise in noises) <= 3


def test_mains_hum_of_a_loose_electrode_has_no_r_waves() -> None:
    times = np.arange(0, 4, 1 / 500)
    assert find_r_waves(np.sin(2 * np.pi * 50 * times), 500) == ()


def test_a_flat_line_has_no_r_waves() -> None:
    assert find_r_waves(np.full(500, 7.0), 250) == ()


def test_one_beat_in_a_clean_short_ecg_is_found() -> None:
    times = np.arange(0, 0.9, 1 / 300)
    assert find_r_waves(np.exp(-(((times - 0.4) / 0.012) ** 2)), 300) == pytest.approx((0.4,), abs=0.002)


@pytest.mark.parametrize(
    ("samples", "rate_hz"),
    [([0.0, np.nan] * 200, 250), (np.zeros((2, 200)), 250), (np.zeros(400), 49), (np.zeros(100), 250), ([], 250)],
)
def test_what_is_no_ecg_is_refused(samples: np.ndarray, rate_hz: float) -> None:
    with pytest.raises(MeasureError):
        find_r_waves(samples, rate_hz)


def test_the_twelve_leads_of_a_real_ecg_agree_on_ten_beats() -> None:
    dataset = dcmread(real_dicom("waveform_ecg.dcm"))
    leads = multiplex_array(dataset, 0, as_raw=False)
    rate_hz = float(dataset.WaveformSequence[0].SamplingFrequency)
    found = [find_r_waves(lead, rate_hz) for lead in leads.T]
    assert [len(times) for times in found] == [10] * 12
    assert np.ptp(found, axis=0).max() < 0.015
    assert 60 / np.diff(found[1]).mean() == pytest.approx(61, abs=1)


def test_beats_that_are_cut_off_at_both_ends_do_not_hide_the_whole_one() -> None:
    times = np.arange(0, 1.8505, 1 / 500)
    ecg = sum(np.exp(-(((times - beat) / 0.012) ** 2)) for beat in (0.0, 0.925, 1.85))
    found = np.array(find_r_waves(ecg, 500))
    assert np.abs(found - 0.925).min() < 0.003
