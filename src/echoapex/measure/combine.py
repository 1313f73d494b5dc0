"""From values to values: those of several clips into one value of the study, and one quantity from others.

The evidence of every clip is kept. The analysis, the reports and a person's review use the same table of formulas.

The guideline asks for the mean over beats and clips of good quality (Lang et al., ASE/EACVI 2015,
doi 10.1016/j.echo.2014.10.003, section 1). The weights by confidence and the outlier rule are our own choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from echoapex.domain import Evidence, Flag, Measurement
from echoapex.measure.chambers import fractional_area_change_percent
from echoapex.measure.lv_volume import cardiac_output_l_per_min, ejection_fraction_percent, stroke_volume_ml
from echoapex.measure.lv_wall import WallThickness, lv_mass_g, relative_wall_thickness
from echoapex.measure.outline import MeasureError
from echoapex.measure.reference_limits import index_to_body
from echoapex.vocabulary import Quantity

_UNKNOWN_CONFIDENCE = 0.5
_WEIGHT_OF_A_FLAG = 0.5
_FEWEST_FOR_OUTLIERS = 3
_OUTLIER_SCORE = 3.5  # modified z-score, Iglewicz & Hoaglin, How to Detect and Handle Outliers, 1993
_LEAST_SCALE = 0.05  # of the median: values this close to each other are never outliers
_METHODS_AGREE_WITHIN_POINTS = 10.0

Values = Float[np.ndarray, " clips"]


def clip_weight(measurement: Measurement) -> float:
    """Weight of a value: its confidence (one half if unknown), halved for each flag, never zero."""
    confidence = _UNKNOWN_CONFIDENCE if measurement.confidence is None else measurement.confidence
    return max(float(confidence), 0.01) * _WEIGHT_OF_A_FLAG ** len(measurement.flags)


def outlying(values: Values) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Mark outliers among three or more values by the modified z-score.

    >>> outlying(np.array([55.0, 57.0, 56.0, 21.0])).tolist()
    [False, False, False, True]
    >>> outlying(np.array([55.0, 21.0])).tolist()  # of two values, it is unknown which one is wrong
    [False, False]
    """
    if len(values) < _FEWEST_FOR_OUTLIERS:
        return np.zeros(len(values), dtype=bool)
    median = float(np.median(values))
    deviation = np.abs(values - median)
    scale = max(1.4826 * float(np.median(deviation)), _LEAST_SCALE * abs(median))
    return np.asarray(deviation > _OUTLIER_SCORE * scale)


def combine_measurements(measurements: Sequence[Measurement]) -> Measurement:
    """Combine measurements of one quantity in several clips into one value.

    Value: mean of the values without outliers, weighted by ``clip_weight``. Evidence: that of these values, the best
    clip first. Interval: for one value its own; for several values the wider of their mean interval and 1.96 standard
    errors of the weighted mean. ``details`` names the best clip, all values with their weights, and the outliers.

    Raises:
        MeasureError: there is no value, or the values are of different quantities.
    """
    if not measurements:
        raise MeasureError("there is nothing to combine; measure the quantity in at least one clip")
    quantities = {measurement.quantity for measurement in measurements}
    if len(quantities) > 1:
        raise MeasureError(f"{', '.join(sorted(quantities))} cannot be combined into one value; combine each by itself")
    values = np.array([measurement.value for measurement in measurements])
    weights = np.array([clip_weight(measurement) for measurement in measurements])
    outliers = outlying(values)
    order = [int(index) for index in np.argsort(-weights, kind="stable") if not outliers[index]]
    kept = [measurements[index] for index in order]
    if len(measurements) == 1:
        return kept[0].model_copy(update={"details": {**kept[0].details, **_details(measurements, weights, outliers)}})
    kept_values, kept_weights = values[order], weights[order] / weights[order].sum()
    combined = float(kept_values @ kept_weights)
    confidences = [(item.confidence, weight) for item, weight in zip(kept, kept_weights, strict=True)]
    known = [(value, weight) for value, weight in confidences if value is not None]
    return Measurement(
        quantity=kept[0].quantity,
        value=combined,
        interval=_combined_interval(kept, combined, kept_weights),
        method=f"{kept[0].method}; weighted mean of {len(kept)} values" if len(kept) > 1 else kept[0].method,
        confidence=sum(v * w for v, w in known) / sum(w for _, w in known) if known else None,
        flags=tuple(dict.fromkeys(flag for item in kept for flag in item.flags)),
        evidence=tuple(evidence for item in kept for evidence in item.evidence),
        details=_details(measurements, weights, outliers),
    )


def flag_disagreement(first: Measurement, second: Measurement) -> tuple[Measurement, Measurement]:
    """Flag both EF values of two independent methods if they differ by more than 10 percentage points.

    Raises:
        MeasureError: one value is not in percent.
    """
    if first.unit != "%" or second.unit != "%":
        raise MeasureError(f"only percentages are compared here, not {first.unit} with {second.unit}")
    if abs(first.value - second.value) <= _METHODS_AGREE_WITHIN_POINTS:
        return first, second
    return _with_flag(first, Flag.METHODS_DISAGREE), _with_flag(second, Flag.METHODS_DISAGREE)


def flag_implausible(measurement: Measurement) -> Measurement:
    """Flag a value outside the plausible range of its quantity; the value is never hidden or clipped."""
    low, high = measurement.quantity.plausible_range
    if low <= measurement.value <= high:
        return measurement
    return _with_flag(measurement, Flag.OUT_OF_RANGE)


def _with_flag(measurement: Measurement, flag: Flag) -> Measurement:
    return measurement.model_copy(update={"flags": tuple(dict.fromkeys((*measurement.flags, flag)))})


def _combined_interval(kept: Sequence[Measurement], value: float, weights: Values) -> tuple[float, float] | None:
    if len(kept) == 1:
        return kept[0].interval
    values = np.array([item.value for item in kept])
    effective = 1 / float(np.square(weights).sum())
    variance = float(weights @ np.square(values - value)) * effective / max(effective - 1, 1e-9)
    halves = [1.96 * (variance / effective) ** 0.5]
    own = [(item.interval, weight) for item, weight in zip(kept, weights, strict=True)]
    widths = [((interval[1] - interval[0]) / 2, weight) for interval, weight in own if interval is not None]
    if widths:
        halves.append(sum(half * weight for half, weight in widths) / sum(weight for _, weight in widths))
    return value - max(halves), value + max(halves)


def _details(
    measurements: Sequence[Measurement], weights: Values, outliers: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> dict[str, object]:
    best = int(np.where(outliers, -np.inf, weights).argmax())
    rows = [
        {
            "clip_id": item.evidence[0].clip_id if item.evidence else "",
            "value": item.value,
            "weight": round(float(weight), 4),
            "left_out_as_outlier": bool(is_outlier),
        }
        for item, weight, is_outlier in zip(measurements, weights, outliers, strict=True)
    ]
    return {"best_clip": rows[best]["clip_id"], "values": rows}


@dataclass(frozen=True)
class Derivation:
    """How one quantity is computed from others.

    Attributes:
        quantity: what is computed.
        sources: from which quantities, in the order of the arguments of ``compute``.
        compute: the formula; values in the units of the quantities.
        method: the formula in words.
        refused: flags of a source with which there is no value.
    """

    quantity: Quantity
    sources: tuple[Quantity, ...]
    compute: Callable[..., float]
    method: str
    refused: frozenset[Flag] = frozenset()


def _mass_g(ivsd_mm: float, lvidd_mm: float, lvpwd_mm: float) -> float:
    return lv_mass_g(WallThickness(ivsd_mm, lvidd_mm, lvpwd_mm))


def _relative_wall_thickness(lvidd_mm: float, lvpwd_mm: float) -> float:
    septum_mm = lvpwd_mm  # takes no part in the formula
    return relative_wall_thickness(WallThickness(septum_mm, lvidd_mm, lvpwd_mm))


def _index(quantity: Quantity, indexed: Quantity) -> Derivation:
    return Derivation(indexed, (quantity, Quantity.BSA), index_to_body, f"{quantity.value} / BSA (Mosteller)")


DERIVATIONS: tuple[Derivation, ...] = (
    Derivation(
        Quantity.LV_MASS,
        (Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD),
        _mass_g,
        "cube formula (Devereux; ASE/EACVI 2015)",
    ),
    Derivation(
        Quantity.RWT, (Quantity.LVIDD, Quantity.LVPWD), _relative_wall_thickness, "2 LVPWd / LVIDd (ASE/EACVI 2015)"
    ),
    Derivation(
        Quantity.STROKE_VOLUME,
        (Quantity.EDV, Quantity.ESV),
        stroke_volume_ml,
        "EDV - ESV, method of discs",
        frozenset({Flag.STRUCTURE_CUT_OFF}),  # part of the volume was not imaged
    ),
    Derivation(
        Quantity.CARDIAC_OUTPUT,
        (Quantity.STROKE_VOLUME, Quantity.HEART_RATE),
        cardiac_output_l_per_min,
        "stroke volume x heart rate, method of discs",
    ),
    _index(Quantity.EDV, Quantity.EDV_INDEX),
    _index(Quantity.ESV, Quantity.ESV_INDEX),
    _index(Quantity.LV_MASS, Quantity.LV_MASS_INDEX),
    _index(Quantity.STROKE_VOLUME, Quantity.STROKE_VOLUME_INDEX),
    _index(Quantity.CARDIAC_OUTPUT, Quantity.CARDIAC_INDEX),
    _index(Quantity.LA_VOLUME, Quantity.LA_VOLUME_INDEX),
    _index(Quantity.RA_VOLUME, Quantity.RA_VOLUME_INDEX),
)
"""What is never measured itself; each comes after its sources."""

RATIOS: tuple[Derivation, ...] = (
    Derivation(
        Quantity.LVEF_DISCS,
        (Quantity.EDV, Quantity.ESV),
        ejection_fraction_percent,
        "(EDV - ESV) / EDV, method of discs",
    ),
    Derivation(
        Quantity.RV_FAC,
        (Quantity.RV_ED_AREA, Quantity.RV_ES_AREA),
        fractional_area_change_percent,
        "(EDA - ESA) / EDA",
    ),
)
"""What the analysis measures on the outlines of each beat, and what follows from other values once these are edited."""


def derive(derivation: Derivation, sources: Sequence[Measurement]) -> Measurement:
    """A value from others, with their evidence and flags and the weakest confidence.

    Args:
        derivation: the formula.
        sources: one measurement of each of its sources, in its order.

    Raises:
        MeasureError: the values do not fit together, or a flag of a source does not allow it.
    """
    flags: dict[Flag, None] = dict.fromkeys(flag for source in sources for flag in source.flags)
    refused = [flag.value.replace("_", " ") for flag in flags if flag in derivation.refused]
    if refused:
        raise MeasureError(f"no {derivation.quantity.display_name}: {', '.join(refused)}; look at the outlines")
    names = tuple(source.quantity.value for source in sources)
    evidence: dict[tuple[str, tuple[int, ...]], Evidence] = {}
    for item in (item for source in sources for item in source.evidence):
        evidence.setdefault(
            (item.clip_id, item.frames), item.model_copy(update={"contours_xy": {}, "derived_from": names})
        )
    confidences = [source.confidence for source in sources if source.confidence is not None]
    return Measurement(
        quantity=derivation.quantity,
        value=derivation.compute(*(source.value for source in sources)),
        method=derivation.method,
        confidence=min(confidences, default=None),
        flags=tuple(flags),
        evidence=tuple(evidence.values()),
    )


def add_derived(found: dict[Quantity, Measurement]) -> None:
    """Add all values that can be computed from those that there are; the others are left out."""
    for derivation in DERIVATIONS:
        if all(source in found for source in derivation.sources):
            try:
                found[derivation.quantity] = derive(derivation, [found[source] for source in derivation.sources])
            except MeasureError:  # such as volumes combined over different clips, which do not eject
                continue
