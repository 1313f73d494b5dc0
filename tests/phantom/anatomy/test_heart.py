"""The heart as a whole: labels, neighbours and what a plane can see."""

import numpy as np

from echoapex.phantom import Patient, sample_patient
from echoapex.phantom.anatomy import Heart
from echoapex.phantom.anatomy.geometry import Points
from echoapex.phantom.anatomy.right_ventricle import CRESCENT_ANGLE_DEG
from echoapex.vocabulary import Structure

AXIAL = np.arange(-70, 70, 1.0, dtype=np.float32)


def block(step_mm: float = 3.0) -> Points:
    side = np.arange(-75, 75, step_mm, dtype=np.float32)
    x, y, z = np.meshgrid(side, side, np.arange(-70, 110, step_mm, dtype=np.float32), indexing="ij")
    return x, y, z


def test_every_structure_is_there_and_has_a_human_size() -> None:
    labels = Heart(Patient(seed=0)).labels(block(), 0.0)
    millilitres = {s: (labels == s).sum() * 0.027 for s in Structure}
    expected = {
        Structure.LV_CAVITY: (110, 130),
        Structure.LV_MYOCARDIUM: (80, 220),
        Structure.LEFT_ATRIUM: (25, 90),
        Structure.RIGHT_VENTRICLE: (60, 260),
        Structure.RIGHT_ATRIUM: (30, 120),
        Structure.AORTIC_ROOT: (20, 110),
    }
    for structure, (low, high) in expected.items():
        assert low < millilitres[structure] < high, structure


def test_myocardium_separates_the_ventricles() -> None:
    labels = Heart(Patient(seed=0)).labels(block(2.0), 0.0)
    left, right = labels == Structure.LV_CAVITY, labels == Structure.RIGHT_VENTRICLE
    for axis in range(3):
        touching = np.take(left, range(left.shape[axis] - 1), axis) & np.take(right, range(1, left.shape[axis]), axis)
        assert not touching.any()


def test_the_right_ventricle_ends_at_its_insertions() -> None:
    x, y, z = block()
    angle = np.radians(CRESCENT_ANGLE_DEG)
    opposite = (x * np.cos(angle) + y * np.sin(angle) < 0) & (z > 10)
    for seed in (1000005, 1000010):  # wide right ventricles
        chambers = Heart(sample_patient(seed)).chambers((x, y, z), 0.0)
        assert (chambers.rv.cavity[~opposite] < 0).any()
        assert (chambers.rv.outer[opposite] > 0).all()


def test_no_muscle_is_labelled_across_the_mitral_valve() -> None:
    z = np.arange(-12, 12, 0.25, dtype=np.float32)
    labels = Heart(Patient(seed=0)).labels((np.zeros_like(z), np.zeros_like(z), z), 0.0)
    assert Structure.LV_MYOCARDIUM not in labels
    assert Structure.LV_CAVITY in labels


def test_labels_agree_with_the_distances() -> None:
    heart, points = Heart(sample_patient(2)), block(4.0)
    chambers, labels = heart.chambers(points, 0.3), heart.labels(points, 0.3)
    assert ((chambers.lv.cavity < 0) == (labels == Structure.LV_CAVITY)).all()
    assert (chambers.lv.wall[labels == Structure.LV_MYOCARDIUM] < 0).all()
    assert (chambers.atria.left[labels == Structure.LEFT_ATRIUM] < 0).all()


def test_leaving_out_what_the_plane_never_meets_changes_nothing_near() -> None:
    heart = Heart(Patient(seed=0))
    x, y = np.meshgrid(AXIAL, AXIAL)
    plane = (x, y, np.full_like(x, 0.55 * heart.ventricle.length_mm))
    hidden = heart.hidden_structures(plane)
    assert {"mitral", "tricuspid", "aortic_cusps"} <= hidden
    assert "papillary_muscles" not in hidden
    whole, culled = heart.chambers(plane, 0.1), heart.chambers(plane, 0.1, hidden)
    for full, short in ((whole.lv.wall, culled.lv.wall), (whole.rv.cavity, culled.rv.cavity)):
        np.testing.assert_array_equal(full, short)
    details = heart.details(culled, hidden)
    assert details.mitral is None and details.papillary_muscles is not None


def test_leaflets_open_in_diastole() -> None:
    heart = Heart(Patient(seed=0))
    below_base = np.linspace(14, 22, 60, dtype=np.float32)
    u = np.full_like(
        below_base, heart.vessels.root_centre_mm - heart.vessels.root_radius_mm
    )  # below the anterior hinge
    x, y = u * np.float32(np.cos(np.radians(150))), u * np.float32(np.sin(np.radians(150)))

    def nearest_leaflet(phase: float) -> float:
        base = np.float32(heart.ventricle.state(phase).base_shift_mm)
        chambers = heart.chambers((x, y, below_base + base), phase)
        return float(heart.details(chambers).mitral.min())  # type: ignore[union-attr]

    opening = [heart.cycle.at(phase).mitral_opening for phase in np.linspace(0, 1, 101)]
    assert nearest_leaflet(float(np.argmax(opening)) / 100) + 2 < nearest_leaflet(0.2)
