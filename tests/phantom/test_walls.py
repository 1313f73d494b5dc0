"""Wall end points against the label maps and the patient."""

from itertools import pairwise

import numpy as np
import pytest

from echoapex.domain import WallPoint
from echoapex.measure import MeasureError, trace_outline
from echoapex.measure.rv_diameter import measure_rv_diameter, require_border_in_image
from echoapex.phantom import Imaging, Patient, simulate_clip
from echoapex.vocabulary import Structure, View


@pytest.mark.parametrize("seed", range(6))
def test_points_lie_on_label_boundaries(seed: int) -> None:
    clip = simulate_clip(View.PLAX, seed, frames=1, label_frames=[0])
    walls, labels = clip.walls, clip.labels[0]
    assert walls is not None
    septal = np.array(walls.points_xy[WallPoint.SEPTUM_RV_SIDE])
    posterior = np.array(walls.points_xy[WallPoint.POSTERIOR_WALL_EPICARDIUM])
    direction = (posterior - septal) / np.linalg.norm(posterior - septal)

    def label_at(point: WallPoint, offset_px: float) -> int:
        column, row = np.round(np.array(walls.points_xy[point]) + offset_px * direction).astype(int)
        return int(labels[row, column])

    step = 2.5
    assert label_at(WallPoint.SEPTUM_RV_SIDE, -step) != Structure.LV_MYOCARDIUM
    assert label_at(WallPoint.SEPTUM_RV_SIDE, step) == Structure.LV_MYOCARDIUM
    assert label_at(WallPoint.SEPTUM_LV_SIDE, -step) == Structure.LV_MYOCARDIUM
    assert label_at(WallPoint.SEPTUM_LV_SIDE, step) == Structure.LV_CAVITY
    assert label_at(WallPoint.POSTERIOR_WALL_LV_SIDE, -step) == Structure.LV_CAVITY
    assert label_at(WallPoint.POSTERIOR_WALL_LV_SIDE, step) == Structure.LV_MYOCARDIUM
    assert label_at(WallPoint.POSTERIOR_WALL_EPICARDIUM, -step) == Structure.LV_MYOCARDIUM
    assert label_at(WallPoint.POSTERIOR_WALL_EPICARDIUM, step) != Structure.LV_MYOCARDIUM


def test_lengths_are_the_distances_between_the_points() -> None:
    clip = simulate_clip(View.PLAX, 3, frames=2)
    assert clip.walls is not None
    points = [np.array(clip.walls.points_xy[point]) for point in WallPoint]
    lengths = [clip.spacing.distance_mm(a, b) for a, b in pairwise(points)]
    assert lengths == pytest.approx([clip.walls.ivsd_mm, clip.walls.lvidd_mm, clip.walls.lvpwd_mm], rel=1e-6)


@pytest.mark.parametrize(("septum", "posterior"), [(7, 7), (19, 10), (11, 16)])
def test_walls_are_as_thick_as_the_patient_s(septum: float, posterior: float) -> None:
    patient = Patient(seed=1, septum_mm=septum, posterior_wall_mm=posterior)
    walls = simulate_clip(View.PLAX, 1, patient=patient, imaging=Imaging(), frames=1, jitter=0.3).walls
    assert walls is not None
    assert walls.ivsd_mm == pytest.approx(septum, abs=1.5)
    assert walls.lvpwd_mm == pytest.approx(posterior, abs=1.5)


@pytest.mark.parametrize("seed", range(10, 22))
def test_points_are_inside_the_imaged_sector(seed: int) -> None:
    clip = simulate_clip(View.PLAX, seed, frames=1, size=112)
    assert clip.walls is not None
    x0, y0, x1, y1 = clip.sector.box_xyxy
    for x, y in clip.walls.points_xy.values():
        assert x0 < x < x1 and y0 < y < y1


def test_the_rv_diameter_ends_on_the_label_boundary_or_the_image_ends_before() -> None:
    """On every seed there is one or the other; the line through the true labels agrees within a pixel."""
    measured = 0
    for seed in range(8):
        clip = simulate_clip(View.PLAX, seed, frames=1, size=160, label_frames=[0])
        walls, labels = clip.walls, clip.labels[0]
        assert walls is not None
        assert (walls.rvidd_mm is None) == (walls.rv_anterior_border_xy is None)
        outline = trace_outline(labels == Structure.RIGHT_VENTRICLE)
        on_labels = measure_rv_diameter(walls.points_xy, outline, clip.spacing)
        if walls.rvidd_mm is None or walls.rv_anterior_border_xy is None:
            with pytest.raises(MeasureError):
                require_border_in_image(on_labels, clip.spacing, labels.shape, clip.sector)
            continue
        measured += 1
        assert on_labels.length_mm == pytest.approx(walls.rvidd_mm, abs=1.5 * clip.spacing.row_mm)
        ends = [np.array(walls.points_xy[WallPoint.SEPTUM_RV_SIDE]), np.array(walls.rv_anterior_border_xy)]
        assert clip.spacing.distance_mm(*ends) == pytest.approx(walls.rvidd_mm, rel=1e-6)
    assert measured >= 3


def test_other_views_have_no_walls() -> None:
    assert simulate_clip(View.A4C, 0, frames=1, size=96).walls is None
