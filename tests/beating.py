"""LV volume curves whose ED, ES, EF and heart rate are known, with the phases of a real beat."""

import numpy as np
from scipy.interpolate import PchipInterpolator

ES_PHASE = 0.38
_PHASE = np.array([0.0, 0.06, 0.12, 0.22, 0.32, 0.38, 0.44, 0.52, 0.62, 0.72, 0.84, 0.94, 1.0])
_FILLING = np.array([1.0, 0.98, 0.78, 0.30, 0.04, 0.0, 0.03, 0.35, 0.70, 0.79, 0.82, 0.97, 1.0])
_ONE_BEAT = PchipInterpolator(_PHASE, _FILLING)


def beating_volume(times_s: np.ndarray, period_s: float, ef_percent: float, edv: float = 120.0) -> np.ndarray:
    """Isovolumic contraction, ejection, rapid filling, diastasis, atrial kick; ED at whole multiples of the period."""
    filling = _ONE_BEAT(np.mod(np.asarray(times_s) / period_s, 1.0))
    return edv * (1 - ef_percent / 100 * (1 - filling))
