"""A simulated patient: the parameters of the beating heart, and their distribution.

There is one random stream per purpose, so that a change of one draw does not affect the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """Purposes of random numbers; their values never change within one simulator version."""

    CLIP = 7
    PATIENT = 11
    IMAGING = 13
    POSE = 17
    HEART_SHAPE = 23
    FRAME = 29
    STUDY = 31


def random_stream(seed: int, stream: Stream, *keys: int) -> np.random.Generator:
    """The random generator of one purpose; ``keys`` separate views or instants within it."""
    return np.random.default_rng([seed, int(stream), *keys])


@dataclass(frozen=True)
class Patient:
    """One patient; the defaults describe a healthy man. All sizes are at end-diastole.

    Size factors (``*_size``) are relative to a typical adult; for the aorta, 1.0 is a sinus of 32 mm.
    ``wall_motion_angle_deg`` counts from the lateral wall (0) over the anterior wall (90) to the septum (180).
    """

    seed: int
    sex: str = "M"
    age_years: int = 55
    bsa_m2: float = 1.9
    height_m: float = 1.76
    heart_rate_bpm: float = 68.0
    ejection_fraction_percent: float = 60.0
    edv_ml: float = 120.0
    lv_length_mm: float = 88.0
    """Endocardial long axis, from the base plane to the apex."""
    septum_mm: float = 9.0
    posterior_wall_mm: float = 9.0
    """Thickness of the posterior and lateral wall."""
    apical_wall_mm: float = 6.5
    equator_position: float = 0.30
    """Position along the long axis where the LV is widest: 0 is the base, 1 the apex."""
    basal_taper: float = 0.13
    ellipticity: float = 0.04
    mapse_mm: float = 13.0
    """Excursion of the mitral plane towards the apex."""
    twist_deg: float = 14.0
    rv_size: float = 1.0
    la_size: float = 1.0
    ra_size: float = 1.0
    aorta_size: float = 1.0
    ivc_mm: float = 17.0
    wall_motion_deficit: float = 0.0
    """Regional wall motion abnormality: 0 is none, 1 is akinetic at its centre."""
    wall_motion_angle_deg: float = 90.0
    wall_motion_level: float = 0.8
    """Centre of the abnormality along the long axis: 0 is the base, 1 the apex."""
    effusion_mm: float = 0.0
    """Pericardial effusion."""

    @property
    def beat_s(self) -> float:
        """Duration of one beat (RR interval)."""
        return 60.0 / self.heart_rate_bpm

    @property
    def esv_ml(self) -> float:
        """End-systolic volume."""
        return self.edv_ml * (1 - self.ejection_fraction_percent / 100)

    @property
    def weight_kg(self) -> float:
        """Body weight that gives this BSA at this height (Mosteller, N Engl J Med 1987;317:1098)."""
        return self.bsa_m2**2 * 36.0 / self.height_m


def sample_patient(seed: int) -> Patient:
    """Draw a patient; the same seed always gives the same patient.

    The population is meant for training and has wider tails than that of a clinic: EF 12-78 %, walls 6-20 mm,
    concentric and asymmetric hypertrophy, dilated and small ventricles, regional wall motion abnormalities, effusions.
    """
    rng = random_stream(seed, Stream.PATIENT)
    sex = "M" if rng.random() < 0.55 else "F"
    bsa = _clipped(rng.normal(1.95 if sex == "M" else 1.72, 0.18), 1.35, 2.6)
    ejection_fraction = _sample_ejection_fraction(rng)
    # failing ventricles are dilated
    edv_index = rng.normal(60 if sex == "M" else 53, 10) + max(0.0, 52 - ejection_fraction) * rng.uniform(0.2, 1.8)
    edv = _clipped(edv_index * bsa, 42, 360)
    # and rounder
    roundness = 1 - 0.05 * max(0.0, (edv - 150) / 100)
    length = _clipped((edv / 120) ** (1 / 3) * rng.normal(87, 4.5) * roundness, 60, 126)
    septum, posterior = _sample_walls(rng, sex, edv)
    deficit, deficit_angle, deficit_level = _sample_wall_motion(rng, ejection_fraction)
    strength = ejection_fraction / 60
    return Patient(
        seed=seed,
        sex=sex,
        age_years=int(rng.integers(22, 92)),
        bsa_m2=bsa,
        height_m=_clipped(rng.normal(1.77 if sex == "M" else 1.64, 0.07) + 0.12 * (bsa - 1.85), 1.45, 2.05),
        heart_rate_bpm=_clipped(rng.normal(72, 15), 42, 135),
        ejection_fraction_percent=ejection_fraction,
        edv_ml=edv,
        lv_length_mm=length,
        septum_mm=septum,
        posterior_wall_mm=posterior,
        apical_wall_mm=float(rng.uniform(5, 8)),
        equator_position=float(rng.uniform(0.22, 0.38)),
        basal_taper=float(rng.uniform(0.08, 0.18)),
        ellipticity=float(rng.normal(0.03, 0.025)),
        mapse_mm=_clipped(length * 0.155 * strength**0.85 * rng.normal(1, 0.08), 2.0, 19.0),
        twist_deg=_clipped(14 * strength + rng.normal(0, 2.5), 0, 24),
        rv_size=_clipped(rng.normal(1, 0.10) + (0.2 if rng.random() < 0.06 else 0), 0.8, 1.4),
        la_size=_clipped(rng.normal(1, 0.11) + (0.12 if ejection_fraction < 45 else 0), 0.78, 1.5),
        ra_size=_clipped(rng.normal(1, 0.10), 0.8, 1.4),
        aorta_size=_clipped(rng.normal(1, 0.10), 0.76, 1.4),
        ivc_mm=_clipped(rng.normal(17, 4), 8, 28),
        wall_motion_deficit=deficit,
        wall_motion_angle_deg=deficit_angle,
        wall_motion_level=deficit_level,
        effusion_mm=float(rng.uniform(3, 18)) if rng.random() < 0.06 else 0.0,
    )


def _clipped(value: float, low: float, high: float) -> float:
    return float(np.clip(value, low, high))


def _sample_ejection_fraction(rng: np.random.Generator) -> float:
    """Mixture of preserved, mildly reduced and reduced EF, plus a uniform part that fills the tails."""
    group = rng.random()
    if group < 0.48:
        value = rng.normal(61, 6)
    elif group < 0.64:
        value = rng.normal(46, 6)
    elif group < 0.82:
        value = rng.normal(30, 8)
    else:
        value = rng.uniform(12, 78)
    return _clipped(value, 12, 78)


def _sample_walls(rng: np.random.Generator, sex: str, edv_ml: float) -> tuple[float, float]:
    """Septal and posterior wall thickness in mm."""
    group = rng.random()
    mean = rng.normal(9.4 if sex == "M" else 8.4, 1.1)
    septum, posterior = mean * rng.normal(1.04, 0.06), mean * rng.normal(0.98, 0.06)
    if group < 0.24:  # concentric hypertrophy
        mean = rng.uniform(11.5, 19.0)
        septum, posterior = mean * rng.normal(1.05, 0.06), mean * rng.normal(0.97, 0.06)
    elif group < 0.36:  # asymmetric septal hypertrophy
        septum, posterior = rng.uniform(13, 20), rng.uniform(7.5, 12.5)
    if edv_ml > 190:  # dilated ventricles have thinner walls
        septum, posterior = septum * 0.92, posterior * 0.92
    return _clipped(septum, 6, 20), _clipped(posterior, 6, 20)


def _sample_wall_motion(rng: np.random.Generator, ejection_fraction: float) -> tuple[float, float, float]:
    """Severity, angle in degrees and level of a regional abnormality; severity 0 is uniform contraction."""
    present = ejection_fraction < 55 and rng.random() < 0.45
    depth, angle, level = rng.uniform(0.4, 1.0), rng.uniform(0, 360), rng.uniform(0.45, 0.95)
    return (float(depth) if present else 0.0), float(angle), float(level)
