"""The curves of the cardiac cycle."""

import numpy as np
import pytest

from echoapex.phantom import Patient
from echoapex.phantom.motion import CardiacCycle


@pytest.mark.parametrize("heart_rate", [42, 68, 135])
def test_contraction_is_complete_once_a_beat(heart_rate: float) -> None:
    cycle = CardiacCycle(Patient(seed=0, heart_rate_bpm=heart_rate))
    contraction = [cycle.at(phase).contraction for phase in np.linspace(0, 1, 401)]
    assert contraction[0] == pytest.approx(0) and contraction[-1] == pytest.approx(0)
    assert cycle.at(cycle.end_systole_phase).contraction == pytest.approx(1)
    assert min(contraction) >= 0 and max(contraction) <= 1
    after_systole = np.linspace(cycle.end_systole_phase, 1, 100)
    assert (np.diff([cycle.at(phase).contraction for phase in after_systole]) <= 1e-9).all()


def test_systole_takes_more_of_a_fast_beat() -> None:
    slow, fast = (CardiacCycle(Patient(seed=0, heart_rate_bpm=rate)) for rate in (50, 110))
    assert fast.end_systole_phase > slow.end_systole_phase


def test_inlet_and_outlet_are_never_wide_open_together() -> None:
    cycle = CardiacCycle(Patient(seed=0))
    for phase in np.linspace(0, 1, 200):
        state = cycle.at(phase)
        assert min(state.mitral_opening, state.aortic_opening) < 0.1


def test_mitral_valve_opens_twice_in_diastole() -> None:
    cycle = CardiacCycle(Patient(seed=0))
    opening = np.array([cycle.at(phase).mitral_opening for phase in np.linspace(0, 1, 500)])
    peaks = np.flatnonzero((opening[1:-1] > opening[:-2]) & (opening[1:-1] >= opening[2:]))
    assert len(peaks) == 2
    assert opening[peaks[0] + 1] > opening[peaks[1] + 1]  # E above A


def test_phases_wrap() -> None:
    cycle = CardiacCycle(Patient(seed=0))
    assert cycle.at(1.25) == cycle.at(0.25)
    assert cycle.at(-0.75) == cycle.at(0.25)
