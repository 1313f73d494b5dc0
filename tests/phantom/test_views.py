"""Where the probe is put."""

import numpy as np
import pytest

from echoapex.phantom import Patient
from echoapex.phantom.anatomy import Heart
from echoapex.phantom.views import draw_pose
from echoapex.vocabulary import Probe, View

HEART = Heart(Patient(seed=0))
PLANES = [view for view in View if view not in (View.SUPRASTERNAL, View.SUBCOSTAL_IVC)]


@pytest.mark.parametrize("view", PLANES)
def test_a_pose_is_an_orthonormal_frame(view: View) -> None:
    pose = draw_pose(view, HEART, np.random.default_rng(1))
    axes = np.stack([pose.depth_axis, pose.right_axis, pose.normal])
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-9)
    assert 60 < pose.depth_mm < 260 and 60 <= pose.field_of_view_deg <= 90


@pytest.mark.parametrize("view", PLANES)
def test_without_jitter_there_is_one_ideal_pose(view: View) -> None:
    first, second = (draw_pose(view, HEART, np.random.default_rng(seed), jitter=0.0) for seed in (1, 2))
    np.testing.assert_allclose(first.position, second.position)
    np.testing.assert_allclose(first.depth_axis, second.depth_axis)


def test_apical_planes_look_from_the_apex_and_oesophageal_ones_towards_it() -> None:
    for view in PLANES:
        pose = draw_pose(view, HEART, np.random.default_rng(0), jitter=0.0)
        if view in (View.A4C, View.A2C, View.A3C, View.A5C):
            assert pose.position[2] > HEART.ventricle.length_mm and pose.depth_axis[2] < -0.9
        if view.probe is Probe.TEE and view is not View.TEE_BICAVAL:
            assert pose.position[2] < -40 and pose.depth_axis[2] > 0.9


def test_apical_views_are_turned_against_each_other() -> None:
    normals = {
        view: draw_pose(view, HEART, np.random.default_rng(0), jitter=0.0).normal
        for view in (View.A4C, View.A2C, View.A3C)
    }
    for first, second in ((View.A4C, View.A2C), (View.A2C, View.A3C)):
        angle = np.degrees(np.arccos(np.clip(normals[first] @ normals[second], -1, 1)))
        assert 45 < angle < 75


def test_points_of_a_plane_lie_in_it() -> None:
    pose = draw_pose(View.PLAX, HEART, np.random.default_rng(3))
    x, y = np.array([-20.0, 0.0, 15.0]), np.array([30.0, 60.0, 90.0])
    points = np.stack(pose.heart_points(x, y), axis=1)
    np.testing.assert_allclose((points - pose.position) @ pose.normal, 0, atol=1e-4)
    np.testing.assert_allclose((points - pose.position) @ pose.right_axis, x, atol=1e-4)
    assert points.dtype == np.float32
