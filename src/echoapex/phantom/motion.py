"""The cardiac cycle: contraction of the ventricle and opening of the valves at every phase.

The phase runs from 0 to 1 over one beat; 0 is the R wave and end-diastole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from echoapex.phantom.patient import Patient


@dataclass(frozen=True)
class CycleState:
    """State at one instant; all values are between 0 and 1."""

    contraction: float
    """0 at end-diastole, 1 at end-systole."""
    mitral_opening: float
    """Opening of the mitral and tricuspid valve; its two peaks are the early (E) and atrial (A) wave."""
    aortic_opening: float


class CardiacCycle:
    """Curves of one patient. At a higher heart rate, systole takes a larger share of the beat."""

    def __init__(self, patient: Patient) -> None:
        systole = float(np.clip(0.36 + 0.0016 * (patient.heart_rate_bpm - 68), 0.30, 0.50))
        diastole = 1 - systole
        self.end_systole_phase = systole
        self._contraction = _curve(
            (0, 0),
            (0.06, 0.0),  # isovolumic contraction
            (0.5 * systole, 0.66),
            (0.85 * systole, 0.96),
            (systole, 1),
            (systole + 0.07 * diastole + 0.02, 0.985),  # isovolumic relaxation
            (systole + 0.38 * diastole, 0.36),  # early filling
            (systole + 0.66 * diastole, 0.26),  # diastasis
            (systole + 0.78 * diastole, 0.23),
            (systole + 0.94 * diastole, 0.03),  # atrial contraction
            (1, 0),
        )
        self._mitral = _curve(
            (0, 0.12),
            (0.03, 0),
            (systole + 0.06, 0),
            (systole + 0.12 * diastole + 0.05, 0.25),
            (systole + 0.27 * diastole + 0.02, 1),  # E wave
            (systole + 0.5 * diastole, 0.42),
            (systole + 0.68 * diastole, 0.32),
            (systole + 0.84 * diastole, 0.72),  # A wave
            (1, 0.12),
        )
        self._aortic = _curve(
            (0, 0), (0.05, 0), (0.11, 1), (0.75 * systole, 0.9), (systole, 0.35), (systole + 0.02, 0), (1, 0)
        )

    def at(self, phase: float) -> CycleState:
        """The state at a phase; phases beyond one beat repeat."""
        phase = phase % 1.0
        return CycleState(float(self._contraction(phase)), float(self._mitral(phase)), float(self._aortic(phase)))


def _curve(*knots: tuple[float, float]) -> PchipInterpolator:
    """A monotone cubic through the knots, without overshoot between them."""
    phases, values = zip(*knots, strict=True)
    return PchipInterpolator(phases, values)
