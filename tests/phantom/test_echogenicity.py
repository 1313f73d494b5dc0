"""What echoes how strongly."""

import numpy as np
import pytest

from echoapex.phantom import Imaging, Patient
from echoapex.phantom.anatomy import Heart
from echoapex.phantom.artefacts import build_pattern
from echoapex.phantom.echogenicity import HeartEcho
from echoapex.phantom.scan import GridSize, PolarGrid
from echoapex.phantom.speckle import PointSpread, TissueSpeckle
from echoapex.phantom.views import verified_pose
from echoapex.vocabulary import Structure, View


@pytest.fixture(scope="module", params=[0.0, 12.0], ids=["dry", "effusion"])
def scene(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    """Heart, grid and echo of an apical view, with and without pericardial effusion."""
    heart = Heart(Patient(seed=0, effusion_mm=request.param))
    grid = PolarGrid(verified_pose(View.A4C, heart, 0, 0.3, lambda pose: True), GridSize.for_image(256))
    rng, imaging = np.random.default_rng(0), Imaging(anisotropy=0.0)
    source = HeartEcho(heart, View.A4C, grid, build_pattern(View.A4C, imaging, grid, rng), imaging)
    echo = source.at(grid.points, 0.0, TissueSpeckle(grid, PointSpread(imaging, grid), rng))
    return heart, grid, echo


def test_blood_is_dark_and_muscle_bright(scene) -> None:  # type: ignore[no-untyped-def]
    heart, grid, echo = scene
    labels = heart.labels(grid.points, 0.0)
    muscle = np.median(echo.diffuse[labels == Structure.LV_MYOCARDIUM])
    blood = np.median(echo.diffuse[labels == Structure.LEFT_ATRIUM])
    assert 20 * np.log10(muscle / blood) > 30


def test_blood_is_where_the_cavities_are(scene) -> None:  # type: ignore[no-untyped-def]
    heart, grid, echo = scene
    labels = heart.labels(grid.points, 0.0)
    for structure in (Structure.LV_CAVITY, Structure.LEFT_ATRIUM, Structure.RIGHT_ATRIUM):
        assert echo.blood[labels == structure].mean() > 0.9
    assert echo.blood[labels == Structure.LV_MYOCARDIUM].mean() < 0.1


def test_an_effusion_is_a_dark_rim_around_the_ventricles(scene) -> None:  # type: ignore[no-untyped-def]
    heart, grid, echo = scene
    chambers = heart.chambers(grid.points, 0.0)
    beside = chambers.points.z > 15
    outside_heart = np.minimum(chambers.lv.wall, chambers.rv.outer - 3.8)
    rim = beside & (outside_heart > 3) & (outside_heart < 8)
    dark = (echo.diffuse[rim] < 0.02).mean()
    assert dark > 0.8 if heart.patient.effusion_mm else dark < 0.05


def test_reflections_need_a_surface(scene) -> None:  # type: ignore[no-untyped-def]
    heart, grid, echo = scene
    chambers = heart.chambers(grid.points, 0.0)
    deep_in_cavity = chambers.lv.cavity < -12
    assert echo.specular[deep_in_cavity].max() < 0.1 < echo.specular.max()
