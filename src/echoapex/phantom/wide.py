"""Patients, machines and hands far beyond the usual, for training: what must not decide is drawn at random."""

from __future__ import annotations

from dataclasses import dataclass, replace

from echoapex.phantom.imaging import Imaging, sample_wide_imaging
from echoapex.phantom.patient import Patient, sample_patient
from echoapex.phantom.random_streams import Stream, random_stream
from echoapex.vocabulary import View

_LARGEST_WALL_MM = 20.0


@dataclass(frozen=True)
class WideSetting:
    """Who is examined, by which machine, and how far the hand strays (``jitter`` of ``simulate_clip``)."""

    patient: Patient
    imaging: Imaging
    jitter: float


def sample_wide_setting(seed: int, view: View) -> WideSetting:
    """Draw a patient, a machine and a hand far beyond what one clinic sees; a plane for it is not always to be had.

    To ``sample_wide_imaging`` it adds a depth that cuts the atria off or leaves half the image empty, contact lost on
    one side of the fan, planes that stray, and chambers, walls and shapes of the ventricle in proportions that
    ``sample_patient`` does not give. Volumes, ejection fraction and heart rate stay those of ``sample_patient``.

    Source: Tobin et al., "Domain randomization for transferring deep neural networks from simulation to the real
    world", 2017.
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
    imaging = replace(sample_wide_imaging(seed, view), depth_factor=between(0.72, 1.18), side_loss_db=one_sided)
    return WideSetting(patient, imaging, jitter=between(1.0, 1.7))
