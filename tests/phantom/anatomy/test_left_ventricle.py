"""Volume, wall and motion of the left ventricle, counted in voxels."""

import dataclasses

import numpy as np
import pytest

from echoapex.phantom import Patient, sample_patient
from echoapex.phantom.anatomy import Heart

VOXEL_MM = 1.5
REGIONAL = dataclasses.replace(
    Patient(seed=3), ejection_fraction_percent=38, wall_motion_deficit=0.9, wall_motion_angle_deg=200
)


def voxel_volumes_ml(heart: Heart, phase: float) -> tuple[float, float]:
    """Cavity and myocardium by counting."""
    reach = heart.ventricle.equatorial_radius_mm + 32
    sides = np.arange(-reach, reach, VOXEL_MM)
    along = np.arange(-6, heart.ventricle.length_mm + 18, VOXEL_MM)
    x, y, z = (axis.astype(np.float32) for axis in np.meshgrid(sides, sides, along, indexing="ij"))
    lv = heart.chambers((x, y, z), phase).lv
    voxel_ml = VOXEL_MM**3 / 1000
    return (lv.cavity < 0).sum() * voxel_ml, ((lv.wall < 0) & (lv.endocardium > 0)).sum() * voxel_ml


@pytest.mark.parametrize(
    "patient", [Patient(seed=0), sample_patient(5), REGIONAL], ids=["default", "drawn", "regional"]
)
def test_declared_volume_is_the_volume_of_the_shape(patient: Patient) -> None:
    heart = Heart(patient)
    for phase in (0.0, heart.cycle.end_systole_phase):
        cavity, _ = voxel_volumes_ml(heart, phase)
        assert cavity == pytest.approx(heart.volume_ml(phase), rel=0.015)


def test_the_wall_keeps_its_volume() -> None:
    heart = Heart(Patient(seed=1))
    _, relaxed = voxel_volumes_ml(heart, 0.0)
    _, contracted = voxel_volumes_ml(heart, heart.cycle.end_systole_phase)
    assert contracted == pytest.approx(relaxed, rel=0.03)


def test_ejection_fraction_is_an_identity() -> None:
    heart = Heart(sample_patient(9))
    ed, es = heart.volume_ml(0.0), heart.volume_ml(heart.cycle.end_systole_phase)
    assert 100 * (ed - es) / ed == pytest.approx(heart.patient.ejection_fraction_percent)


def test_an_akinetic_region_stays_where_it_was() -> None:
    heart = Heart(REGIONAL)
    state = heart.ventricle.state(heart.cycle.end_systole_phase)
    z = np.float32(state.base_shift_mm + REGIONAL.wall_motion_level * state.length_mm)

    def radius(angle_deg: float, phase: float) -> float:
        distance = np.arange(0, 60, 0.05)
        x, y = (np.float32(distance * f(np.radians(angle_deg))) for f in (np.cos, np.sin))
        cavity = heart.chambers((x, y, np.full_like(x, z)), phase).lv.endocardium < 0
        return float(distance[cavity][-1])

    shrink = {angle: radius(angle, heart.cycle.end_systole_phase) / radius(angle, 0.0) for angle in (200, 20)}
    assert shrink[200] > shrink[20] + 0.1


def test_base_moves_to_the_apex_by_the_declared_excursion() -> None:
    patient = Patient(seed=0, mapse_mm=11)
    ventricle = Heart(patient).ventricle
    assert ventricle.state(0.0).base_shift_mm == pytest.approx(0)
    assert ventricle.state(ventricle.cycle.end_systole_phase).base_shift_mm == pytest.approx(11)
