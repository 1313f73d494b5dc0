"""Contrasts of tissues: drawn for each label, on the pixels of that label, and never on black."""

from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_clips import draw_store

from echoapex.data.frame_source import FrameSource, FrameSourceConfig
from echoapex.data.tissue import TissueConfig, TissueContrast
from echoapex.vocabulary import Structure

OFF = dict.fromkeys(
    ("wall_loss", "wall_gain", "cavity_haze", "line_gain", "dropout_probability", "layer_probability"), 0.0
)


def from_centre(side: int = 96) -> np.ndarray:
    """Distance of every pixel from the centre of the drawn heart."""
    return np.hypot(*(np.mgrid[0:side, 0:side] - side / 2))


def heart(side: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """A round cavity (20) in a bright wall (160) in grey surroundings (80); the left quarter is black."""
    away = from_centre(side)
    labels = np.zeros((side, side), np.uint8)
    labels[away < 30] = Structure.LV_MYOCARDIUM
    labels[away < 18] = Structure.LV_CAVITY
    image = np.select([labels == Structure.LV_CAVITY, labels == Structure.LV_MYOCARDIUM], [20, 160], 80)
    image = image.astype(np.uint8)
    image[:, : side // 4] = 0
    return image, labels


def changed_by(strengths: dict[str, float], seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image, labels = heart()
    config = TissueConfig(**{**OFF, "probability": 1.0, **strengths})
    return image, labels, TissueContrast(config)(image, labels, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(5))
def test_black_stays_black_and_nothing_else_becomes_black(seed: int) -> None:
    image, _, changed = changed_by(TissueConfig().model_dump(exclude={"probability"}), seed)
    assert changed.dtype == np.uint8
    np.testing.assert_array_equal(changed > 0, image > 0)
    assert (changed != image).any()


def test_the_wall_fades_and_its_surroundings_stay() -> None:
    for seed in range(8):
        image, labels, changed = changed_by({"wall_loss": 2.0}, seed)
        wall = labels == Structure.LV_MYOCARDIUM
        inner, far = wall & (image > 0), (labels == 0) & (from_centre() > 44)
        assert changed[inner].mean() < image[inner].mean()
        np.testing.assert_array_equal(changed[far], image[far])


def test_haze_brightens_a_chamber_alone() -> None:
    brighter = 0
    for seed in range(8):
        image, labels, changed = changed_by({"cavity_haze": 1.0}, seed)
        cavity = labels == Structure.LV_CAVITY
        assert changed[cavity].mean() >= image[cavity].mean()
        brighter += changed[cavity].mean() > image[cavity].mean() + 5
        np.testing.assert_array_equal(changed[labels == 0][:500], image[labels == 0][:500])
    assert brighter >= 3


def test_the_band_around_the_heart_changes_without_its_inside() -> None:
    image, labels, changed = changed_by({"line_gain": 1.5}, 1)
    deep = from_centre() < 20
    np.testing.assert_array_equal(changed[deep], image[deep])
    near = (labels == 0) & (from_centre() < 32) & (image > 0)
    assert (changed[near] != image[near]).any()


def test_a_stretch_of_wall_drops_out() -> None:
    image, labels, changed = changed_by({"wall_loss": 3.0, "dropout_probability": 1.0}, 2)
    wall = (labels == Structure.LV_MYOCARDIUM) & (image > 0)
    kept = changed[wall] / image[wall].astype(float)
    assert np.percentile(kept, 5) < 0.3 * np.percentile(kept, 95)


def test_a_layer_of_the_wall_darkens() -> None:
    away = from_centre()
    darker = {"inner": 0, "outer": 0}
    for seed in range(20):
        image, labels, changed = changed_by({"wall_loss": 2.0, "layer_probability": 1.0}, seed)
        plain = changed_by({"wall_loss": 2.0}, seed)[2]  # the same draw until the layer
        ratio = changed / np.maximum(plain, 1).astype(float)
        inner, outer = (ratio[(image > 0) & (away > low) & (away < high)].mean() for low, high in ((19, 21), (27, 29)))
        darker["inner"] += inner < outer - 0.05
        darker["outer"] += outer < inner - 0.05
        np.testing.assert_array_equal(
            changed[labels != Structure.LV_MYOCARDIUM], plain[labels != Structure.LV_MYOCARDIUM]
        )
    assert darker["inner"] > darker["outer"] > 0


def test_the_inner_layer_is_hidden_in_apical_views_alone() -> None:
    image, labels = heart()
    away = from_centre()
    hide = TissueContrast(TissueConfig(**OFF, probability=1.0, hidden_layer_probability=1.0, hidden_layer=(0.5, 0.5)))
    np.testing.assert_array_equal(hide(image, labels, np.random.default_rng(0)), image)
    changed = hide(image, labels, np.random.default_rng(0), apical=True)
    inner, outer = ((image > 0) & (away > low) & (away < high) for low, high in ((18, 20), (28, 30)))
    assert np.abs(changed[inner].astype(int) - 20).max() <= 2  # as dark as the cavity
    np.testing.assert_array_equal(changed[outer], image[outer])


def test_haze_lies_on_the_hidden_layer_too() -> None:
    image, labels = heart()
    away = from_centre()
    config = TissueConfig(**OFF | {"cavity_haze": 1.0}, probability=1.0, hidden_layer_probability=1.0)
    inner = (image > 0) & (labels == Structure.LV_MYOCARDIUM) & (away < 19)
    hazes = [
        TissueContrast(config)(image, labels, np.random.default_rng(seed), apical=True)[inner].mean()
        for seed in range(12)
    ]
    assert max(hazes) > 30


def test_an_atrium_fades_into_its_surroundings() -> None:
    image, labels = heart()
    away = from_centre()
    labels = np.where(labels == Structure.LV_CAVITY, Structure.LEFT_ATRIUM, 0).astype(np.uint8)
    image[away >= 18] = np.where(image[away >= 18] > 0, 80, 0)
    fade = TissueContrast(TissueConfig(**OFF, probability=1.0, faded_atrium_probability=1.0))
    middle = (away < 10) & (image > 0)
    faded = [fade(image, labels, np.random.default_rng(seed))[middle].mean() for seed in range(8)]
    assert min(faded) > 45 and max(faded) <= 81


def test_what_never_happens_draws_no_chance() -> None:
    image, labels = heart()
    usual = TissueContrast(TissueConfig(probability=1.0))
    apical, other = (usual(image, labels, np.random.default_rng(5), apical=one) for one in (True, False))
    np.testing.assert_array_equal(apical, other)


def test_probability_zero_and_empty_frames_change_nothing() -> None:
    image, labels = heart()
    rng = np.random.default_rng(0)
    assert TissueContrast(TissueConfig(probability=0.0))(image, labels, rng) is image
    assert TissueContrast(TissueConfig(probability=1.0))(image, np.zeros_like(labels), rng) is image


def test_a_source_changes_frames_with_all_labels_only(tmp_path: Path) -> None:
    partly = draw_store(tmp_path / "partly", clips=4, size=64)  # knows some structures
    plain, tissue = (FrameSourceConfig(batch_size=8, sizes=((0, 64),), tissue=one) for one in (None, TissueConfig()))
    first, second = (FrameSource([partly], config).batch(0) for config in (plain, tissue))
    assert not first.structure_known.all()
    assert torch.equal(first.pixels, second.pixels)
    bits = sum(1 << int(structure) for structure in Structure)
    partly.truth["known_structures"][:] = bits
    first, second = (FrameSource([partly], config).batch(0) for config in (plain, tissue))
    assert torch.equal(first.labels, second.labels)
    assert not torch.equal(first.pixels, second.pixels)
