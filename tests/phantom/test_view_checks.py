"""A label that is never wrong."""

import pytest

from echoapex.phantom import Patient, PhantomError, sample_patient
from echoapex.phantom.anatomy import Heart
from echoapex.phantom.views import Pose, shows_view, verified_pose, visible_areas_cm2
from echoapex.vocabulary import View

PLANES = [view for view in View if view not in (View.SUPRASTERNAL, View.SUBCOSTAL_IVC)]
HEARTS = [Heart(sample_patient(seed)) for seed in range(6)]


def anything(pose: Pose) -> bool:
    return True


@pytest.mark.parametrize("view", PLANES)
def test_every_patient_has_every_view(view: View) -> None:
    for seed, heart in enumerate(HEARTS):
        assert shows_view(view, heart, verified_pose(view, heart, seed, 1.0, anything))


def test_four_chambers_show_no_aorta_and_five_do() -> None:
    for seed, heart in enumerate(HEARTS):
        four = visible_areas_cm2(heart, verified_pose(View.A4C, heart, seed, 1.0, anything))
        five = visible_areas_cm2(heart, verified_pose(View.A5C, heart, seed, 1.0, anything))
        assert four["aorta"] < 1.3 and five["aorta"] > 4


@pytest.mark.parametrize(
    ("view", "other"),
    [
        (View.A4C, View.A5C),
        (View.A4C, View.A2C),
        (View.A2C, View.A4C),
        (View.A5C, View.A4C),
        (View.PSAX_AV, View.PSAX_MV),
        (View.PSAX_MV, View.PSAX_PM),
        (View.PSAX_PM, View.PSAX_APEX),
        (View.TEE_4C, View.TEE_LAX),
        (View.ICE_HOME, View.ICE_LA),
    ],
)
def test_a_plane_of_one_view_is_not_taken_for_another(view: View, other: View) -> None:
    for seed, heart in enumerate(HEARTS):
        assert not shows_view(other, heart, verified_pose(view, heart, seed, 1.0, anything))


def test_a_wish_that_cannot_be_met_is_an_error_with_a_remedy() -> None:
    with pytest.raises(PhantomError, match="another seed or patient"):
        verified_pose(View.PLAX, HEARTS[0], 0, 1.0, lambda pose: False)


def test_the_accepting_condition_is_honoured() -> None:
    pose = verified_pose(View.A4C, Heart(Patient(seed=0)), 0, 1.0, lambda pose: pose.depth_mm > 175)
    assert pose.depth_mm > 175


def test_a_dilated_right_ventricle_is_kept_out_of_the_two_chamber_view() -> None:
    heart = Heart(sample_patient(1_000_079))  # needs many attempts
    pose = verified_pose(View.A2C, heart, 1_000_079, 1.0, anything)
    assert visible_areas_cm2(heart, pose)["rv"] < 6


@pytest.mark.parametrize("view", PLANES)
def test_the_ideal_plane_is_found_too(view: View) -> None:
    for seed, heart in enumerate(HEARTS):
        assert shows_view(view, heart, verified_pose(view, heart, seed, 0.0, anything))
