"""Machine settings: probe, gain, artefacts, the look of four fictitious vendors; and domain randomization for training.

Domain randomization draws patients, machines and probe positions far beyond the usual, so that a model learns to ignore
what must not influence its answer. Source: Tobin et al., "Domain randomization for transferring deep neural networks
from simulation to the real world", 2017.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from echoapex.phantom.patient import Patient, Stream, random_stream, sample_patient
from echoapex.vocabulary import Probe, View

_LARGEST_WALL_MM = 20.0


@dataclass(frozen=True)
class VendorLook:
    """Typical look of one vendor's images, and the probe name in the overlay."""

    probe_label: str
    smoothing_px: float
    persistence: float
    contrast: float
    """Strength of the S-shape of the grey map; 0 is none."""


VENDOR_LOOKS = {
    "A": VendorLook("X5", 0.0, 0.10, 0.0),
    "B": VendorLook("S5", 0.70, 0.30, 0.5),
    "C": VendorLook("V4", 1.05, 0.25, 0.25),
    "D": VendorLook("M5", 0.45, 0.0, 0.8),
}


@dataclass(frozen=True)
class Imaging:
    """Settings of one machine; decibels are relative to myocardium at mid depth."""

    vendor: str = "A"
    quality: float = 0.7
    """Image quality from 0 (very poor) to 1 (excellent); it determines noise, haze, clutter and dropout."""
    centre_frequency_mhz: float = 2.6
    axial_fwhm_mm: float = 0.95
    """Axial resolution: full width at half maximum of the point spread function."""
    lateral_fwhm_deg: float = 1.75
    """Lateral resolution at the focus."""
    focus_mm: float = 70.0
    dynamic_range_db: float = 58.0
    gain_db: float = 0.0
    gamma: float = 1.0
    depth_gain_db: float = 0.0
    """Residual of the time gain compensation per 100 mm."""
    noise_db: float = -50.0
    haze_db: float = -27.0
    """Side lobes and off-axis clutter."""
    clutter_db: float = -12.0
    """Reverberation of the chest wall in the near field."""
    anisotropy: float = 0.55
    """How much darker the myocardium is where its fibres are parallel to the beam."""
    dropout: float = 0.35
    smoothing_px: float = 0.0
    """Speckle reduction of the machine, in polar samples."""
    persistence: float = 0.15
    """Weight of the previous frame."""
    shadows: int = 0
    frame_rate_hz: float = 48.0
    wing_crop: float = 1.0
    """0 shows the whole sector; 1 fills the height and crops the sides of the sector."""
    overlay: bool = True
    """Depth ticks and text."""
    ecg: bool = True
    blood_db: float = -44.0
    """Echo of blood, including slow flow and reverberation in the cavities."""
    fat: float = 0.55
    """Echo amplitude of the tissue between the chambers; myocardium is about 1."""
    surroundings_db: float = 0.0
    """Echo of lung, mediastinum and chest wall, relative to the usual level."""
    surroundings_reach_mm: float = 16.0
    """Distance from the heart over which they fade."""
    reflection_db: float = 0.0
    """Specular echoes (pericardium, linings, arterial walls), relative to the usual level."""
    depth_factor: float = 1.0
    """Imaging depth, relative to the usual depth of the view."""
    fan_factor: float = 1.0
    """Width of the fan, relative to the usual width of the view."""
    standoff_mm: float = 0.0
    """How much farther from the heart the probe is than usual: a thick chest wall, or the apex in another rib space."""
    side_loss_db: float = 0.0
    """Loss at one edge of the fan, increasing from its middle (poor contact, lung); negative: at the left edge."""


def sample_imaging(seed: int, view: View) -> Imaging:
    """Draw machine settings; a seed has the same vendor in all views, but different settings in each view."""
    vendor = "ABCD"[int(random_stream(seed, Stream.IMAGING).integers(4))]
    rng = random_stream(seed, Stream.IMAGING, list(View).index(view))
    look = VENDOR_LOOKS[vendor]
    inside_body = view.probe is not Probe.TTE
    quality = float(np.clip(rng.beta(4, 2.2), 0.1, 1))
    poor = 1 - quality
    frequency = float(rng.uniform(4.5, 7.5) if inside_body else rng.uniform(1.9, 3.4))
    if inside_body:
        lateral, focus = float(rng.uniform(1.3, 2.2)), float(rng.uniform(30, 70))
    else:
        lateral = float(np.clip(4.4 / frequency * rng.uniform(0.85, 1.25), 0.8, 2.8))
        focus = float(rng.uniform(50, 110))
    return Imaging(
        vendor=vendor,
        quality=quality,
        centre_frequency_mhz=frequency,
        axial_fwhm_mm=float(np.clip(2.4 / frequency * rng.uniform(0.8, 1.2), 0.35, 1.3)),
        lateral_fwhm_deg=lateral,
        focus_mm=focus,
        dynamic_range_db=float(rng.uniform(50, 66)),
        gain_db=float(rng.normal(0, 3.2)),
        gamma=float(rng.uniform(0.85, 1.35)),
        depth_gain_db=float(rng.normal(-1.5, 4.5)),
        noise_db=float(-56 + 22 * poor + rng.normal(0, 2)),
        haze_db=float(-31 + 15 * poor + rng.normal(0, 1.5)),
        clutter_db=float(-22 + 20 * poor + rng.normal(0, 2)) - (8 if inside_body else 0),
        anisotropy=float(rng.uniform(0.3, 0.75)),
        dropout=float(np.clip(0.9 * poor + rng.uniform(0, 0.3), 0, 0.95)),
        smoothing_px=look.smoothing_px * float(rng.uniform(0.7, 1.2)),
        persistence=look.persistence,
        shadows=int(rng.random() < 0.35 * (1.2 - quality)) if not inside_body else 0,
        frame_rate_hz=float(rng.uniform(35, 75)),
        wing_crop=float(rng.choice([0.0, 0.5, 1.0], p=[0.3, 0.2, 0.5])),
        overlay=bool(rng.random() < 0.85),
        ecg=bool(rng.random() < 0.75),
    )


def sample_randomized_imaging(seed: int, view: View) -> Imaging:
    """Draw machine settings far beyond those of one clinic, for training by domain randomization.

    These vary: grey cavities, bright or missing surroundings, weak reflections, tight or wide framing, steep or flat
    grey curves. Anatomy and truth are not changed.
    """
    usual = sample_imaging(seed, view)
    rng = random_stream(seed, Stream.IMAGING, 100 + list(View).index(view))

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    return replace(
        usual,
        lateral_fwhm_deg=usual.lateral_fwhm_deg * between(0.7, 1.4),
        dynamic_range_db=between(42, 72),
        gain_db=float(rng.normal(0, 4)),
        gamma=between(0.7, 1.6),
        depth_gain_db=float(rng.normal(0, 6)),
        noise_db=usual.noise_db + between(-3, 12),
        haze_db=between(-34, -9),
        clutter_db=usual.clutter_db + between(-5, 9),
        anisotropy=between(0, 0.85),
        dropout=between(0, 1),
        smoothing_px=between(0, 1.2),
        blood_db=between(-44, -13),
        fat=10 ** (between(-14, 2) / 20),
        surroundings_db=between(-6, 16),
        surroundings_reach_mm=float(np.exp(between(np.log(10), np.log(90)))),
        reflection_db=between(-15, 2),
        depth_factor=between(0.86, 1.12),
        fan_factor=between(0.78, 1.25),
    )


@dataclass(frozen=True)
class RandomizedSetting:
    """A patient, a machine, and the deviation from the ideal plane (``jitter`` of ``simulate_clip``)."""

    patient: Patient
    imaging: Imaging
    jitter: float


def sample_randomized_setting(seed: int, view: View) -> RandomizedSetting:
    """Draw a patient, a machine and a plane deviation far beyond those of one clinic, for domain randomization.

    In addition to ``sample_randomized_imaging``, these vary: a depth that cuts off the atria or leaves half the image
    empty, lost contact on one side of the fan, deviating planes, and proportions of chambers and walls that
    ``sample_patient`` does not give. Volumes, ejection fraction and heart rate are those of ``sample_patient``. For
    some settings no plane shows the view; then ``simulate_clip`` raises ``PhantomError``.
    """
    rng = random_stream(seed, Stream.IMAGING, 200 + list(View).index(view))

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    usual = sample_patient(seed)
    walls = between(0.75, 1.15)
    patient = replace(
        usual,
        lv_length_mm=usual.lv_length_mm * between(0.88, 1.08),
        septum_mm=min(_LARGEST_WALL_MM, usual.septum_mm * walls),
        posterior_wall_mm=min(_LARGEST_WALL_MM, usual.posterior_wall_mm * walls),
        apical_wall_mm=between(4, 9),
        equator_position=between(0.18, 0.45),
        basal_taper=between(0.05, 0.22),
        ellipticity=between(-0.03, 0.10),
        rv_size=between(0.75, 1.4),
        la_size=between(0.75, 1.5),
        ra_size=between(0.75, 1.4),
        aorta_size=between(0.76, 1.35),
    )
    one_sided = between(-26, 26) if rng.random() < 0.45 else 0.0
    imaging = replace(sample_randomized_imaging(seed, view), depth_factor=between(0.72, 1.18), side_loss_db=one_sided)
    return RandomizedSetting(patient, imaging, jitter=between(1.0, 1.7))
