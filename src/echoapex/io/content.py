"""Decide from the pixels whether a picture is an echocardiogram, or something else, with the reason in words.

A picture is accepted as B-mode or colour Doppler if it contains one fan that looks like a cardiac one. The fan and its
surroundings are described by numbers. Ultrasound is sharper along the beam than across it. Its beams diverge from the
apex, its speckle connects neighbouring pixels, and around the fan there is only the screen. Noise, drawings,
photographs, and the strips of M-mode and spectral Doppler each lack at least one of these properties.

Each limit below has a physical meaning and lies outside the range of real echocardiograms. A picture that respects all
limits but is unusual in several ways at once is refused by a logistic model with five coefficients. The coefficients
were fitted to the tuning half of real and drawn pictures (``benchmarks/fit_picture_gate.py``). The limits were set by
hand with both halves in view. ``benchmarks/not_an_echo.py`` evaluates both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from echoapex.domain import ContentKind, Sector
from echoapex.io.fan import (
    FEWEST_PIXELS,
    Mask,
    Plane,
    along_and_across,
    filled,
    grown,
    side_support,
    turning,
    without_marks,
)
from echoapex.io.sector import (
    COLOURED,
    RIM,
    VISIBLE,
    Box,
    Search,
    Shape,
    find_colour_box,
    largest_textured_area,
    search_sector,
    sector_of,
)

_TEXTURE_PX = 4.0  # finer than this is texture
_EVEN_RANGE = 2
_SATURATED = 250
_LEAST_DEPTH_PX = 130  # in a smaller picture the speckle grain is lost
_USUAL_AXIAL = 0.45

Frames = Sequence[UInt8[np.ndarray, "height width *channels"]]

_LEAST_OPENING_DEG, _MOST_OPENING_DEG = 30.0, 135.0
_MOST_NEAR = 0.25
"""The fan of a phased array begins near its apex; that of a curved array (40 to 60 mm radius) at a quarter of its
depth or later."""
_LEAST_SHARE = 0.1
"""A smaller fan is the reference image next to a trace."""
_LEAST_RIM_DARK = 0.8
_MOST_BESIDE = 0.25
_LEAST_BOUND = 0.4
_MOST_EVEN = 0.4
_MOST_COLOURED = 0.6

_MEANS_AND_COEFFICIENTS = {
    "sides": (0.76, 17.56),
    "turning": (0.968, 4.11),
    "axial": (0.295, 9.08),
    "opening": (0.022, -1.71),
    "rim_dark": (0.985, 19.11),
}
_INTERCEPT = 6.46
LEAST_SCORE = -0.45
"""Score of the logistic model (log odds) below which a picture is refused: midway between the lowest score of an
echocardiogram (0.19) and the highest score of another picture (-1.08) in the tuning half."""

_TRACES = {
    ContentKind.SPECTRAL_DOPPLER: "a wide area with upright grain, as of a spectral Doppler trace",
    ContentKind.M_MODE: "a wide area of level lines, as of an M-mode or a linear array",
}

_STROKES = 0.5
_FLAT_GRAIN, _UPRIGHT_GRAIN = -0.3, 0.02
_WIDE = 1.8
_FULL = 0.7

_ODD = {
    "sides": "the sides of the fan are hardly touched by the image",
    "turning": "the grain of the image does not turn with the beams",
    "axial": "the image is not sharper along the beams than across them",
    "opening": "the opening of the fan is unusual for a cardiac probe",
    "rim_dark": "the surroundings of the fan are not dark",
}


@dataclass(frozen=True)
class FoundContent:
    """What an instance shows, the reason, the box of colour flow (pixel edges), and the sector.

    The sector is given if and only if the instance is to be analysed.
    """

    kind: ContentKind
    reason: str = ""
    colour_box_xyxy: Box | None = None
    sector: Sector | None = None

    @property
    def is_set_aside(self) -> bool:
        """Whether the instance is excluded from analysis."""
        return self.kind not in (ContentKind.B_MODE, ContentKind.COLOUR_DOPPLER)


def content_of_pixels(
    frames: Sequence[UInt8[np.ndarray, "height width *channels"]], within_xyxy: Box | None = None
) -> FoundContent:
    """B-mode, colour Doppler if some frames show coloured flow, or what else the pixels show; see ``judge_pixels``."""
    judged = judge_pixels(frames, within_xyxy)
    box = None if judged.sector is None else find_colour_box(frames, within_xyxy)
    if box is None:
        return judged
    return FoundContent(ContentKind.COLOUR_DOPPLER, "coloured pixels of flow in the image", box, judged.sector)


def judge_pixels(frames: Frames, region_box_xyxy: Box | None = None) -> FoundContent:
    """Decide what some frames of one clip show.

    Args:
        frames: grey or RGB frames of one size, spread over the clip; a single frame works but is less reliable.
        region_box_xyxy: pixel edges of the region with ultrasound data, if the header gives it.

    Returns:
        B-mode with its sector, or what else it is and why. Colour flow is not considered here.

    Raises:
        ValueError: there is no frame.
    """
    grey = np.stack([frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    search = search_sector(grey, region_box_xyxy)
    if search.shape is not Shape.FAN:
        return _no_fan(search)
    middle = frames[len(frames) // 2]
    traits = measure_traits(search, _cropped(middle, region_box_xyxy) if middle.ndim == 3 else None)
    refusal = refuse(traits, search)
    if refusal is not None:
        return refusal
    return FoundContent(ContentKind.B_MODE, sector=sector_of(search, grey.shape[1:], region_box_xyxy))


def refuse(traits: PictureTraits, search: Search) -> FoundContent | None:
    """Why a picture with a fan is not an echocardiogram; None if it is one."""
    by_limits = refuse_by_limits(traits, search)
    if by_limits is not None or score_traits(traits) >= LEAST_SCORE:
        return by_limits
    kind = None if search.area is None else _trace_kind(search, search.area)
    return FoundContent(ContentKind.NOT_ECHO, _oddest(traits)) if kind is None else FoundContent(kind, _TRACES[kind])


def refuse_by_limits(traits: PictureTraits, search: Search) -> FoundContent | None:
    """As :func:`refuse`, but by the limits alone; exceeding one of them is enough."""
    if traits.beside > _MOST_BESIDE or traits.share < _LEAST_SHARE:
        return _beside(traits, search)
    limits = (
        (traits.bound < _LEAST_BOUND, "neighbouring pixels have nothing in common, as in noise"),
        (traits.even > _MOST_EVEN, "its areas are even, as in a drawing"),
        (traits.coloured > _MOST_COLOURED, "it is coloured throughout, as a photograph is"),
        (traits.rim_dark < _LEAST_RIM_DARK, "the surroundings of the fan are not dark"),
        (traits.near > _MOST_NEAR, "the fan is that of a curved array (abdominal probe), not of a cardiac one"),
        (
            not _LEAST_OPENING_DEG <= traits.opening_deg <= _MOST_OPENING_DEG,
            f"a fan of {traits.opening_deg:.0f} degrees is none of a cardiac probe",
        ),
    )
    reason = next((words for broken, words in limits if broken), "")
    return FoundContent(ContentKind.NOT_ECHO, reason) if reason else None


def soft_traits(traits: PictureTraits) -> dict[str, float]:
    """The inputs of the logistic model; each is clipped where larger values carry no more information."""
    return {
        "sides": min(traits.sides, 0.8),
        "turning": float(np.clip(traits.turning, -0.5, 1.0)),
        "axial": float(np.clip(traits.axial, -0.3, 0.3)),
        "opening": max(0.0, abs(traits.opening_deg - 75.0) / 15.0 - 1.0),
        "rim_dark": max(traits.rim_dark, 0.8),
    }


def score_traits(traits: PictureTraits) -> float:
    """Log odds that the picture is an echocardiogram, by the logistic model."""
    return _INTERCEPT + sum(_contributions(traits).values())


def _contributions(traits: PictureTraits) -> dict[str, float]:
    values = soft_traits(traits)
    return {name: weight * (values[name] - mean) for name, (mean, weight) in _MEANS_AND_COEFFICIENTS.items()}


def _oddest(traits: PictureTraits) -> str:
    """The trait that argues most against an echocardiogram, in words."""
    contributions = _contributions(traits)
    return f"the fan does not look like an echocardiogram: {_ODD[min(contributions, key=contributions.__getitem__)]}"


def _beside(traits: PictureTraits, search: Search) -> FoundContent:
    """The content of a picture with a fan next to something else: a trace or a second image."""
    area = largest_textured_area(search)
    if area is None:
        return FoundContent(ContentKind.NOT_ECHO, "the fan is small, as a reference image beside a trace is")
    kind = _trace_kind(search, area)
    if kind is not None:
        return FoundContent(kind, _TRACES[kind])
    if traits.beside > _MOST_BESIDE:
        return FoundContent(ContentKind.SPLIT_SCREEN, "several images on one screen")
    return FoundContent(ContentKind.NOT_ECHO, "the fan is small, as a reference image beside a trace is")


def _no_fan(search: Search) -> FoundContent:
    """The content of a picture without a fan."""
    lit = int(search.lit.sum())
    if search.area is None:
        if lit < 0.002 * search.lit.size:
            return FoundContent(ContentKind.NOT_ECHO, "the image is nearly blank")
        return _strokes() if without_marks(search.lit).sum() < _STROKES * lit else _nothing()
    if without_marks(search.lit).sum() < _STROKES * lit and search.shape is Shape.OTHER:
        return _strokes()
    kind = _trace_kind(search, search.area)
    if kind is not None:
        return FoundContent(kind, _TRACES[kind])
    if search.area.mean() > _FULL:
        return FoundContent(ContentKind.NOT_ECHO, "the picture fills the screen; no ultrasound fan on a dark ground")
    if search.shape is Shape.RECTANGLE:
        return FoundContent(ContentKind.NOT_ECHO, "a rectangle, as of a linear array, and no ultrasound fan")
    return _nothing()


def _strokes() -> FoundContent:
    return FoundContent(ContentKind.TEXT_SCREEN, "the screen holds text or lines and no ultrasound fan")


def _nothing() -> FoundContent:
    return FoundContent(ContentKind.NOT_ECHO, "no ultrasound fan was found")


def _trace_kind(search: Search, area: Mask) -> ContentKind | None:
    """M-mode or spectral Doppler, by the grain of a wide area: horizontal lines, or vertical ones; None for neither.

    An M-mode differs from the wide image of a linear array by the reference image next to it.
    """
    rows, columns = np.nonzero(area)
    width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
    lit = area & search.lit
    if width < _WIDE * height or lit.sum() < 200 or area.mean() > _FULL:
        return None
    frame = search.frames[len(search.frames) // 2]
    across, down = (float(np.abs(cv2.Sobel(frame, cv2.CV_32F, *o, ksize=3))[lit].mean()) for o in ((1, 0), (0, 1)))
    grain = float(np.log((across + 1e-3) / (down + 1e-3)))
    if grain > _UPRIGHT_GRAIN:
        return ContentKind.SPECTRAL_DOPPLER
    apart = search.lit & ~cv2.dilate(area.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    is_beside_an_image = without_marks(apart).sum() > 0.02 * apart.size
    return ContentKind.M_MODE if grain < _FLAT_GRAIN and is_beside_an_image else None


def _cropped(frame: UInt8[np.ndarray, "height width 3"], box: Box | None) -> UInt8[np.ndarray, "height width 3"]:
    """The frame with everything outside the region blacked out."""
    if box is None:
        return frame
    x0, y0, x1, y1 = (max(0, round(edge)) for edge in box)
    kept = np.zeros_like(frame)
    kept[y0:y1, x0:x1] = frame[y0:y1, x0:x1]
    return kept


@dataclass(frozen=True)
class PictureTraits:
    """A fan and its surroundings in numbers.

    Attributes:
        opening_deg: angle between the sides of the fan.
        near: radius at which the fan begins, divided by the radius at which it ends; large for a curved array.
        share: area of the fan, divided by the area of the image (or of the region that was searched).
        sides: share of the two sides (inside the image) that lit pixels touch.
        rim_dark: share of a narrow band around the fan that is dark screen.
        beside: the largest textured area outside the fan, divided by the area of the fan.
        bound: correlation of the fine texture between neighbouring pixels; 0 for noise.
        even: share of the lit pixels without texture; large in a drawing.
        axial: logarithm of the mean gradient along the beams divided by that across them; the usual value if the
            picture is too small to measure it.
        turning: how far the grain of the picture turns with the beams; 1 in a fan (and if the picture is too small
            to measure it), 0 in a strip or a photograph.
        coloured: share of the visible pixels in the fan that have colour.
    """

    opening_deg: float
    near: float
    share: float
    sides: float
    rim_dark: float
    beside: float
    bound: float
    even: float
    axial: float
    turning: float
    coloured: float


def measure_traits(search: Search, colour: UInt8[np.ndarray, "height width 3"] | None) -> PictureTraits:
    """Measure the traits of a picture in which a fan was found.

    Args:
        search: the search that found the fan.
        colour: one of the frames in colour, of any size; None for grey clips.

    Raises:
        ValueError: the search found no fan.
    """
    fan = search.fan
    if fan is None:
        raise ValueError("only a picture with a fan has traits")
    size = search.lit.shape
    inside = filled(fan.outline, size)
    reach = max(2, round(RIM * max(size)))
    around = grown(inside, reach)
    beside = largest_textured_area(search)
    rim = around & ~grown(inside, max(1, reach // 3)) & search.window
    core = ~grown(~inside, max(1, reach // 2))
    frame = search.frames[len(search.frames) // 2]
    gradient_x, gradient_y = (cv2.Sobel(frame, cv2.CV_32F, *order, ksize=3) / 8 for order in ((1, 0), (0, 1)))
    tissue = core & search.lit & (frame < _SATURATED)
    is_fine = fan.radii_px[1] - fan.radii_px[0] >= _LEAST_DEPTH_PX
    along, across = along_and_across(fan, gradient_x, gradient_y)
    return PictureTraits(
        opening_deg=fan.opening_deg,
        near=fan.radii_px[0] / fan.radii_px[1],
        share=float((inside & search.window).sum()) / max(1, int(search.window.sum())),
        sides=side_support(fan, search.lit),
        rim_dark=float(1 - search.lit[rim].mean()) if rim.any() else 1.0,
        beside=0.0 if beside is None else float(beside.sum()) / max(1, int(inside.sum())),
        bound=_neighbour_correlation(frame, tissue),
        even=_even_share(frame, tissue),
        axial=_axial(along, across, tissue) if is_fine else _USUAL_AXIAL,
        turning=turning(fan, gradient_x, gradient_y, tissue) if is_fine else 1.0,
        coloured=_coloured_share(colour, core),
    )


def _axial(along: Plane, across: Plane, tissue: Mask) -> float:
    if tissue.sum() < FEWEST_PIXELS:
        return 0.0
    return float(np.log((along[tissue].mean() + 1e-3) / (across[tissue].mean() + 1e-3)))


def _neighbour_correlation(frame: UInt8[np.ndarray, "height width"], tissue: Mask) -> float:
    """Correlation of the fine texture between horizontal neighbours; 1 if there are too few pixels."""
    fine = frame.astype(np.float32) - cv2.GaussianBlur(frame.astype(np.float32), (0, 0), _TEXTURE_PX)
    both = tissue[:, 1:] & tissue[:, :-1]
    power = float(np.square(fine[tissue]).mean()) if tissue.sum() >= FEWEST_PIXELS else 0.0
    return float((fine[:, 1:] * fine[:, :-1])[both].mean() / power) if power > 0 and both.any() else 1.0


def _even_share(frame: UInt8[np.ndarray, "height width"], tissue: Mask) -> float:
    kernel = np.ones((3, 3), np.uint8)
    span = cv2.dilate(frame, kernel) - cv2.erode(frame, kernel)
    return float((span[tissue] <= _EVEN_RANGE).mean()) if tissue.any() else 1.0


def _coloured_share(colour: UInt8[np.ndarray, "height width 3"] | None, core: Mask) -> float:
    if colour is None:
        return 0.0
    small = cv2.resize(colour, (core.shape[1], core.shape[0]), interpolation=cv2.INTER_AREA)
    brightest, darkest = small.max(axis=2), small.min(axis=2)
    visible = core & (brightest >= VISIBLE)
    return float((brightest - darkest >= COLOURED)[visible].mean()) if visible.any() else 0.0
