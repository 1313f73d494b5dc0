"""Changes how strongly each labelled tissue of a simulated frame echoes, so that outlines do not hang on one contrast.

On patients the side walls often fade into the cavity, haze fills the chambers, and the sac behind the muscle is the
brightest line. Shapes and labels never change.

Source: Billot et al., "SynthSeg: segmentation of brain MRI scans of any contrast and resolution without retraining",
2023 (appearance drawn at random for each label).
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from echoapex.config import Config
from echoapex.data.augment import smooth_field, speckle
from echoapex.vocabulary import CHAMBERS, Structure

_ATRIA = (Structure.LEFT_ATRIUM, Structure.RIGHT_ATRIUM)
_TISSUE_PERCENTILE = 75
"""Percentile of the wall's grey levels that haze is measured against."""

_REST_OF_WALL = 0.4
"""How much of its other changes the wall keeps when its inner layer is hidden; the rest of it must stay visible."""


class TissueConfig(Config):
    """Probabilities and strengths; all strengths are upper limits."""

    probability: float = 0.8
    """Probability that a frame is changed."""
    wall_loss: float = 1.6
    """Natural logarithm of the loss of echo in the LV wall."""
    wall_gain: float = 0.4
    """Natural logarithm of the gain of echo in the LV wall."""
    cavity_haze: float = 0.7
    """Haze in a chamber, as a share of the brightness of the wall."""
    line_gain: float = 1.2
    """Natural logarithm of the gain or loss in a band around the heart's chambers and wall."""
    dropout_probability: float = 0.5
    """Probability that a stretch of wall vanishes together with the band around it."""
    layer_probability: float = 0.5
    """Probability that the inner or the outer layer of the wall is as dark as blood, or nearly."""
    hidden_layer_probability: float = 0.0
    """Probability that the inner layer of the wall cannot be told from the cavity, in apical views.

    There the beam runs along the side walls, and experts draw the inner border inside the wall that is plainly visible.
    """
    hidden_layer: tuple[float, float] = (0.2, 0.6)
    """Range of the share of the wall's thickness that is hidden then."""
    faded_atrium_probability: float = 0.0
    """Probability that an atrium can hardly be told from what surrounds it, as far from the probe."""


class TissueContrast:
    """Draws the echo strength of every tissue of a frame.

    Args:
        config: how often and how strongly.
    """

    def __init__(self, config: TissueConfig) -> None:
        self._config = config

    def __call__(
        self,
        image: UInt8[np.ndarray, "s s"],
        labels: UInt8[np.ndarray, "s s"],
        rng: np.random.Generator,
        *,
        apical: bool = False,
    ) -> UInt8[np.ndarray, "s s"]:
        """The frame with other contrasts; black pixels stay black and no other pixel becomes black.

        Args:
            image: grey frame.
            labels: values of ``Structure``; every structure that the frame shows has to be labelled.
            rng: where chance comes from.
            apical: whether it is an apical view, in which the inner layer of the wall may be hidden.
        """
        config = self._config
        heart = labels > 0
        if rng.random() >= config.probability or not heart.any():
            return image
        size = image.shape[0]
        wall = labels == Structure.LV_MYOCARDIUM
        level = float(np.percentile(image[wall if wall.any() else image > 0], _TISSUE_PERCENTILE))
        cavities = {structure: labels == structure for structure in CHAMBERS}
        lines, layers = self._lines(heart, rng), self._wall(wall, labels, rng)
        hidden = self._hidden(wall, cavities[Structure.LV_CAVITY], rng) if apical else None
        if hidden is None:
            grey = image * np.exp(lines + layers)
        else:
            grey = _as_blood(image * np.exp(lines + _REST_OF_WALL * layers), hidden, cavities[Structure.LV_CAVITY])
            cavities[Structure.LV_CAVITY] |= hidden
        for structure, inside in cavities.items():
            if not inside.any():
                continue
            if structure in _ATRIA and _happens(config.faded_atrium_probability, rng):
                grey += _faded(grey, inside, image > 0, rng)
            haze = rng.uniform(0, config.cavity_haze) * level * rng.random()
            grey += haze * _soft(inside, rng.uniform(0.5, 2.5)) * _patches(rng, size) * speckle(rng, size)
        return np.asarray(np.clip(np.rint(grey), 1, 255) * (image > 0), np.uint8)

    def _wall(
        self, wall: Bool[np.ndarray, "s s"], labels: UInt8[np.ndarray, "s s"], rng: np.random.Generator
    ) -> Float[np.ndarray, "s s"]:
        """Logarithm of the gain of the LV wall: its own, patches, and stretches that vanish."""
        config, size = self._config, wall.shape[0]
        if not wall.any():
            return np.zeros((size, size), np.float32)
        own = rng.uniform(-config.wall_loss / 2, config.wall_gain)
        patchy = -rng.uniform(0, config.wall_loss) * _patches(rng, size)
        gain = _soft(wall, rng.uniform(0.5, 4.0)) * (own + patchy)
        if rng.random() < config.dropout_probability:
            ring = _band(wall, round(size * rng.uniform(0.01, 0.05))) | wall
            ring &= labels != Structure.LV_CAVITY
            gain += _soft(ring, rng.uniform(1, 4)) * -config.wall_loss * _stretch(wall, rng)
        if rng.random() < config.layer_probability:
            gain -= rng.uniform(0, config.wall_loss) * _layer(wall, labels == Structure.LV_CAVITY, rng)
        return gain

    def _hidden(
        self, wall: Bool[np.ndarray, "s s"], cavity: Bool[np.ndarray, "s s"], rng: np.random.Generator
    ) -> Bool[np.ndarray, "s s"] | None:
        """The part of the wall next to the cavity that looks like blood; None if nothing is hidden."""
        if not (wall.any() and _core(cavity).any() and _happens(self._config.hidden_layer_probability, rng)):
            return None
        share = rng.uniform(*self._config.hidden_layer) * (0.6 + 0.8 * _patches(rng, len(wall)))
        return np.asarray(wall & (_depth_in_wall(wall, cavity) < share))

    def _lines(self, heart: Bool[np.ndarray, "s s"], rng: np.random.Generator) -> Float[np.ndarray, "s s"]:
        """Logarithm of the gain in a band around all labelled structures: the sac, and the walls of the atria."""
        size = heart.shape[0]
        band = _band(heart, max(2, round(size * rng.uniform(0.012, 0.05))))
        strength = rng.uniform(-self._config.line_gain, self._config.line_gain)
        return np.asarray(_soft(band, rng.uniform(0.7, 2.0)) * strength * _patches(rng, size), np.float32)


def _band(inside: Bool[np.ndarray, "s s"], width: int) -> Bool[np.ndarray, "s s"]:
    """The pixels within ``width`` outside of a region."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    return np.asarray((cv2.dilate(inside.astype(np.uint8), kernel) > 0) & ~inside)


def _soft(inside: Bool[np.ndarray, "s s"], sigma_px: float) -> Float[np.ndarray, "s s"]:
    return np.asarray(cv2.GaussianBlur(inside.astype(np.float32), (0, 0), sigma_px), np.float32)


def _patches(rng: np.random.Generator, size: int) -> Float[np.ndarray, "s s"]:
    """Smooth values from 0 to 1 with a random number of patches."""
    return smooth_field(rng, size, cells=int(rng.integers(2, 7)))


def _layer(
    wall: Bool[np.ndarray, "s s"], cavity: Bool[np.ndarray, "s s"], rng: np.random.Generator
) -> Float[np.ndarray, "s s"]:
    """1 in the inner or the outer layer of the wall, 0 elsewhere, smooth, and patchy half of the time."""
    depth = _depth_in_wall(wall, cavity)
    if rng.random() < 1 / 3:
        depth = 1 - depth
    layer = np.asarray(np.clip((rng.uniform(0.1, 0.6) - depth) / 0.15 + 0.5, 0, 1) * wall, np.float32)
    return np.asarray(layer * (_patches(rng, len(wall)) if rng.random() < 0.5 else 1), np.float32)


def _happens(probability: float, rng: np.random.Generator) -> bool:
    """Draw a chance; what never happens draws nothing, so that older recipes keep their numbers."""
    return probability > 0 and rng.random() < probability


def _core(cavity: Bool[np.ndarray, "s s"]) -> Bool[np.ndarray, "s s"]:
    """A cavity without the two pixels next to its border."""
    return np.asarray(cavity & ~_band(~cavity, 2))


def _as_blood(
    grey: Float[np.ndarray, "s s"], layer: Bool[np.ndarray, "s s"], cavity: Bool[np.ndarray, "s s"]
) -> Float[np.ndarray, "s s"]:
    """The layer as bright as the cavity, and no edge between them."""
    blood = _core(cavity)
    for part in (layer, cavity & ~blood):
        grey = np.where(part, _like(grey, part, blood), grey) if part.any() else grey
    return grey


def _like(
    grey: Float[np.ndarray, "s s"], region: Bool[np.ndarray, "s s"], other: Bool[np.ndarray, "s s"]
) -> Float[np.ndarray, "s s"]:
    """The grey of a region as it would be at the brightness of another one nearby; its texture stays its own."""
    size = len(grey)
    own, wanted = _mean_near(grey, region, 0.015 * size), _mean_near(grey, other, 0.05 * size)
    return np.asarray(grey * np.clip(wanted / np.maximum(own, 1), 0, 20), np.float32)


def _mean_near(
    grey: Float[np.ndarray, "s s"], region: Bool[np.ndarray, "s s"], sigma_px: float
) -> Float[np.ndarray, "s s"]:
    """Local mean over the pixels of a region, also beyond its border; far from it, its mean."""
    weight = _soft(region, sigma_px) + 1e-3
    total = np.asarray(cv2.GaussianBlur((grey * region).astype(np.float32), (0, 0), sigma_px), np.float32)
    return np.asarray((total + 1e-3 * float(grey[region].mean())) / weight, np.float32)


def _faded(
    grey: Float[np.ndarray, "s s"],
    inside: Bool[np.ndarray, "s s"],
    seen: Bool[np.ndarray, "s s"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "s s"]:
    """The change of grey that makes a chamber and its border like the tissue around it."""
    size = len(grey)
    chamber = (inside | _band(inside, max(2, round(size * 0.02)))) & seen
    around = _band(chamber, round(size * rng.uniform(0.04, 0.1))) & seen
    if not around.any():
        return np.zeros_like(grey)
    change = (_like(grey, chamber, around) - grey) * _soft(chamber, rng.uniform(1, 4)) * rng.uniform(0.5, 1)
    return np.asarray(change, grey.dtype)


def _depth_in_wall(wall: Bool[np.ndarray, "s s"], cavity: Bool[np.ndarray, "s s"]) -> Float[np.ndarray, "s s"]:
    """0 at the cavity, 1 at the outer surface of the wall."""
    from_cavity = cv2.distanceTransform((~cavity).astype(np.uint8), cv2.DIST_L2, 3)
    from_outside = cv2.distanceTransform((wall | cavity).astype(np.uint8), cv2.DIST_L2, 3)
    return np.asarray(from_cavity / np.maximum(from_cavity + from_outside, 1e-3), np.float32)


def _stretch(wall: Bool[np.ndarray, "s s"], rng: np.random.Generator) -> Float[np.ndarray, "s s"]:
    """1 in a random range of angles about the centre of the wall, 0 elsewhere, with a smooth edge."""
    rows, columns = np.nonzero(wall)
    y, x = np.mgrid[0 : wall.shape[0], 0 : wall.shape[1]].astype(np.float32)
    angle = np.arctan2(y - rows.mean(), x - columns.mean())
    away = np.abs(np.angle(np.exp(1j * (angle - rng.uniform(-np.pi, np.pi)))))
    half = rng.uniform(0.3, 1.1)
    return np.asarray(np.clip((half - away) / 0.2 + 0.5, 0, 1), np.float32)
