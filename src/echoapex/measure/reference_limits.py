"""Limits for measured values: normal limits from a data file, physiological limits of the heart beat, and body size.

Normal limits are in a versioned data file (``measure/reference/*.json``), so that a cardiologist can read and change
them without reading code. Physiological limits of time, rate and volume change separate impossible values from rare
ones, not sick hearts from healthy ones; so they are wide. A value outside is refused, or flagged where it is shown.
Plausible ranges of the measured quantities are in ``vocabulary.quantities``. Body surface area is used to index chamber
sizes. Every limit gives its source; "ours" marks our own choice.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources

import numpy as np
from jaxtyping import Bool, Float
from pydantic import model_validator

from echoapex.config import Config, build_config
from echoapex.measure.outline import MeasureError
from echoapex.vocabulary import Quantity

SHORTEST_BEAT_S, LONGEST_BEAT_S = 0.27, 2.0
"""Duration of a beat at heart rates from 220 to 30 per minute.

The highest rate at age ``a`` is ``208 - 0.7 a`` per minute (Tanaka et al., J Am Coll Cardiol 2001,
doi 10.1016/S0735-1097(00)01054-8); patients below 30 per minute do not have a routine echocardiogram (ours).
"""

SHORTEST_SYSTOLE_S, LONGEST_SYSTOLE_S = 0.10, 0.65
"""Time from end-diastole to end-systole, at any heart rate."""

SYSTOLE_MARGIN_S = 0.2
"""Largest difference from the systole expected at a known heart rate, see ``expected_systole_s`` (ours).

This leaves room for bundle branch block, aortic stenosis, and the flat ends of the volume curve.
"""

LONGEST_SYSTOLE_OF_BEAT = 0.75
"""Largest share of systole in the time from one end-diastole to the next.

By ``expected_systole_s``, systole takes 0.49 of the beat at 75 per minute and 0.59 at 140 per minute, because mainly
diastole shortens at a higher heart rate.
"""

FASTEST_CHANGE_PER_S = 10.0
"""Fastest change of the LV volume, in end-diastolic volumes per second.

The peak filling rate of healthy adults at rest is 3.1 with a standard deviation of 0.9 (Bonow et al., Circulation 1981,
doi 10.1161/01.CIR.64.4.787). The peak ejection rate is about the same, and exercise doubles both. The limit leaves room
for errors of the outlines (ours).
"""

LEAST_FRAMES_PER_BEAT = 6
"""Fewest frames between two marks of one phase for a heart rate (ours); at this number one frame is 17 % of it."""

LARGEST_RATE_DIFFERENCE = 0.2
"""Largest difference between the heart rate of the header and that of the beats, as a share of the former (ours)."""

_HEIGHT_RANGE_M = (0.3, 2.6)
_WEIGHT_RANGE_KG = (1.0, 400.0)


class NormalRange(Config):
    """Normal range of one quantity in one sex, inclusive, in its unit; an end that is None has no limit.

    Where the guideline grades what is abnormal, ``mild_to`` is the last value that is mildly abnormal and
    ``moderate_to`` the last that is moderately abnormal. They lie on the side on which the grades are.
    """

    low: float | None = None
    high: float | None = None
    mild_to: float | None = None
    moderate_to: float | None = None


class QuantityLimits(Config):
    """Normal ranges of one quantity by sex.

    ``decimals`` is the precision of the guideline: values are rounded to it before they are compared, because between
    its grades (41 to 53, 54 to 74) there is no other value. ``is_rough_guide`` marks what is no limit of the guideline.
    """

    decimals: int = 0
    note: str = ""
    is_rough_guide: bool = False
    F: NormalRange
    M: NormalRange


class ReferenceLimits(Config):
    """Normal limits of an adult guideline; sexes as in DICOM (0010,0040), ``F`` and ``M``."""

    name: str
    version: str
    citation: str
    doi: str
    applies_to: str
    normal_ranges: dict[Quantity, QuantityLimits]

    @model_validator(mode="after")
    def _classifies_geometry(self) -> ReferenceLimits:
        for quantity in (Quantity.LV_MASS_INDEX, Quantity.RWT):
            ranges = self.normal_ranges.get(quantity)
            if ranges is None or not all((each.high or 0) > 0 for each in (ranges.F, ranges.M)):
                raise ValueError(f"normal_ranges.{quantity}: LV geometry needs its upper limits, F.high and M.high")
        if self.normal_ranges[Quantity.RWT].F != self.normal_ranges[Quantity.RWT].M:
            raise ValueError(f"normal_ranges.{Quantity.RWT}: one range for both sexes is expected")
        return self

    @property
    def source(self) -> str:
        """Name, version and DOI in one line, for reports."""
        return f"{self.name}, limits file {self.version}, doi {self.doi}"

    def rounded(self, quantity: Quantity, value: float) -> float:
        """A value at the precision at which the guideline states its limits; only such values are compared with them.

        >>> read_reference_limits().rounded(Quantity.RWT, 0.4208)
        0.42

        Raises:
            KeyError: the guideline has no range of the quantity.
        """
        return round(value, self.normal_ranges[quantity].decimals)

    @property
    def upper_relative_wall_thickness(self) -> float:
        """Upper limit of relative wall thickness, of both sexes.

        >>> read_reference_limits().upper_relative_wall_thickness
        0.42
        """
        return float(self.normal_ranges[Quantity.RWT].F.high or 0)

    def upper_mass_index(self, sex: str | None) -> float | None:
        """Upper limit of LV mass index in g/m2 for a DICOM patient sex, or None if there is none (O, unknown).

        >>> read_reference_limits().upper_mass_index("M"), read_reference_limits().upper_mass_index("O")
        (115.0, None)
        """
        ranges = self.normal_ranges[Quantity.LV_MASS_INDEX]
        return {"F": ranges.F.high, "M": ranges.M.high}.get((sex or "").strip().upper())


@cache
def read_reference_limits(name: str = "ase2015") -> ReferenceLimits:
    """Read the limits file ``measure/reference/<name>.json`` that ships with the package.

    >>> read_reference_limits().normal_ranges[Quantity.LVEF].F.low
    54.0

    Raises:
        MeasureError: there is no such file.
        ConfigError: a value in the file is missing or wrong.
    """
    folder = resources.files("echoapex.measure").joinpath("reference")
    file = folder.joinpath(f"{name}.json")
    if not file.is_file():
        known = sorted(item.name.removesuffix(".json") for item in folder.iterdir() if item.name.endswith(".json"))
        raise MeasureError(f"there are no reference limits called {name!r}; known: {', '.join(known)}")
    return build_config(ReferenceLimits, json.loads(file.read_text(encoding="utf-8")), source=file.name)


def expected_systole_s(beat_s: float) -> float:
    """Duration of electromechanical systole (QS2) in a beat: ``546 - 2.1 HR`` ms, standard deviation 14 ms.

    Source: Weissler et al., Circulation 1968, doi 10.1161/01.CIR.37.2.149 (healthy men; women 4 ms more).

    >>> round(expected_systole_s(0.8), 3)
    0.389
    """
    return 0.546 - 0.0021 * 60 / beat_s


def is_possible_systole(systole_s: float, frame_s: float, beat_s: float | None = None) -> bool:
    """Whether a time from end-diastole to end-systole is possible, with a tolerance of one frame.

    ``SHORTEST_SYSTOLE_S`` has no tolerance.

    >>> is_possible_systole(0.35, frame_s=0.02), is_possible_systole(1.3, frame_s=0.02)
    (True, False)
    >>> is_possible_systole(0.5, frame_s=0.02, beat_s=0.55), is_possible_systole(0.2, frame_s=0.02, beat_s=1.9)
    (False, False)

    Args:
        systole_s: the time.
        frame_s: time between frames: the tolerance.
        beat_s: time from this end-diastole to the next, if known.
    """
    shortest, longest = SHORTEST_SYSTOLE_S, LONGEST_SYSTOLE_S
    if beat_s is not None:
        expected = expected_systole_s(beat_s)
        shortest = max(shortest, expected - SYSTOLE_MARGIN_S)
        longest = min(longest, expected + SYSTOLE_MARGIN_S, LONGEST_SYSTOLE_OF_BEAT * beat_s)
    return max(SHORTEST_SYSTOLE_S, shortest - frame_s) <= systole_s <= longest + frame_s


def is_possible_beat(beat_s: float) -> bool:
    """Whether the duration of a beat corresponds to a heart rate from 30 to 220 per minute.

    >>> is_possible_beat(0.8), is_possible_beat(2.4)
    (True, False)
    """
    return SHORTEST_BEAT_S <= beat_s <= LONGEST_BEAT_S


def impossible_jumps(
    times_s: Float[np.ndarray, " frames"], sizes: Float[np.ndarray, " frames"]
) -> Bool[np.ndarray, " frames"]:
    """Mark frames whose LV size differs impossibly from their neighbours; NaN means a frame without LV.

    A frame is marked if the change from the previous measured frame and the change to the next one are both too fast
    and of opposite sign: a single peak or dip. At the ends of the curve there is only one neighbour, so the second next
    frame is used too.

    >>> times = np.arange(6) * 0.02
    >>> impossible_jumps(times, np.array([100.0, 98.0, 40.0, 95.0, 93.0, 90.0])).tolist()
    [False, False, True, False, False, False]

    Args:
        times_s: times of the frames, increasing.
        sizes: volumes or areas in any unit.
    """
    jumps = np.zeros(sizes.size, dtype=bool)
    known = np.flatnonzero(np.isfinite(sizes))
    if known.size < 3:
        return jumps
    times, values = times_s[known], sizes[known]
    # the usual largest size: a single peak must not define its own scale
    largest = float(np.quantile(values, 0.9))
    step, rise = np.diff(times), np.diff(values)
    too_fast = np.abs(rise) > FASTEST_CHANGE_PER_S * largest * step
    lone = too_fast[:-1] & too_fast[1:] & (np.sign(rise[:-1]) != np.sign(rise[1:]))
    jumps[known[1:-1]] = lone
    # a frame at the end is wrong if its only neighbour agrees with the frame beyond
    jumps[known[0]] = too_fast[0] and not too_fast[1]
    jumps[known[-1]] = too_fast[-1] and not too_fast[-2]
    return jumps


def body_surface_area_mosteller(height_m: float, weight_kg: float) -> float:
    """Body surface area in m2 by Mosteller's formula: ``sqrt(height_cm * weight_kg / 3600)``.

    Source: Mosteller, N Engl J Med 1987, doi 10.1056/NEJM198710223171717.

    >>> round(body_surface_area_mosteller(1.80, 80), 2)
    2.0

    Raises:
        MeasureError: the height or weight is not a person's, for instance in cm instead of m.
    """
    _require_person(height_m, weight_kg)
    return float((100 * height_m * weight_kg / 3600) ** 0.5)


def body_surface_area_dubois(height_m: float, weight_kg: float) -> float:
    """Body surface area in m2 by the DuBois formula: ``0.007184 * weight_kg^0.425 * height_cm^0.725``.

    Source: DuBois & DuBois, Arch Intern Med 1916, doi 10.1001/archinte.1916.00080130010002.

    >>> round(body_surface_area_dubois(1.80, 80), 2)
    2.0

    Raises:
        MeasureError: the height or weight is not a person's, for instance in cm instead of m.
    """
    _require_person(height_m, weight_kg)
    return float(0.007184 * weight_kg**0.425 * (100 * height_m) ** 0.725)


def index_to_body(value: float, body_surface_area_m2: float) -> float:
    """A value divided by body surface area in m2, as the guideline indexes mass and volumes (Lang et al. 2015).

    >>> index_to_body(190.0, 2.0)
    95.0

    Raises:
        MeasureError: the area is not positive.
    """
    if not body_surface_area_m2 > 0:
        raise MeasureError(
            f"a body surface area of {body_surface_area_m2:g} m2 is not possible; give height and weight"
        )
    return value / body_surface_area_m2


def _require_person(height_m: float, weight_kg: float) -> None:
    if not _HEIGHT_RANGE_M[0] <= height_m <= _HEIGHT_RANGE_M[1]:
        raise MeasureError(f"a height of {height_m:g} m is not a person's; give it in metres")
    if not _WEIGHT_RANGE_KG[0] <= weight_kg <= _WEIGHT_RANGE_KG[1]:
        raise MeasureError(f"a weight of {weight_kg:g} kg is not a person's; give it in kilograms")
