"""Biplane discs: the contours of the best apical four- and two-chamber clips of one study, taken together.

The shapes are computed again from the contours in the evidence, so that a biplane volume rests on nothing that is not
written down.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from echoapex.domain import ClipReport, Flag, Measurement
from echoapex.infer.contours import shape_from_evidence
from echoapex.measure import BiplaneVolume, MeasureError, biplane_volume, ejection_fraction_percent
from echoapex.measure.combine import clip_weight
from echoapex.vocabulary import Quantity, View

METHOD = "biplane discs"


def measure_biplane(clips: Sequence[ClipReport]) -> dict[Quantity, Measurement]:
    """EDV, ESV and EF by biplane discs.

    Empty where a plane is missing, not calibrated, of an uncertain view, or cannot be measured: two loops of one plane
    are no biplane.
    """
    planes = _best_planes(clips)
    if not planes or uncertain_planes(clips):
        return {}
    four, two = planes[View.A4C], planes[View.A2C]
    try:
        diastole = _volumes(four, two, "ed_frames")
        systole = _volumes(four, two, "es_frames")
        end_diastolic = float(np.mean([item.volume_ml for item in diastole]))
        end_systolic = float(np.mean([item.volume_ml for item in systole]))
        values = {
            Quantity.LVEF_DISCS: ejection_fraction_percent(end_diastolic, end_systolic),
            Quantity.EDV: end_diastolic,
            Quantity.ESV: end_systolic,
        }
    except (MeasureError, KeyError):
        return {}
    return {quantity: _measurement(quantity, value, (four, two), diastole) for quantity, value in values.items()}


def uncertain_planes(clips: Sequence[ClipReport]) -> tuple[View, ...]:
    """Of the two planes that would be taken together, those of which nobody can be sure; empty where one is missing."""
    return tuple(view for view, plane in _best_planes(clips).items() if Flag.VIEW_UNCERTAIN in plane.flags)


def _best_planes(clips: Sequence[ClipReport]) -> dict[View, Measurement]:
    """What ``_best_plane`` finds of both views; empty where one is missing."""
    found = {view: _best_plane(clips, view) for view in (View.A4C, View.A2C)}
    planes = {view: plane for view, plane in found.items() if plane is not None}
    return planes if len(planes) == len(found) else {}


def _best_plane(clips: Sequence[ClipReport], view: View) -> Measurement | None:
    """The calibrated end-diastolic volume of the clip of a view that counts most."""
    found = [item for clip in clips if clip.view is view for item in clip.measurements if item.quantity is Quantity.EDV]
    return max(found, key=clip_weight, default=None)


def _volumes(four: Measurement, two: Measurement, phase: str) -> list[BiplaneVolume]:
    """Volumes of every pairing of the beats of both planes at one phase; the planes beat at different times."""
    shapes = [
        [shape_from_evidence(plane.evidence[0], frame) for frame in plane.details[phase]] for plane in (four, two)
    ]
    return [biplane_volume(*pair) for pair in product(*shapes)]


def _measurement(
    quantity: Quantity, value: float, planes: Sequence[Measurement], diastole: Sequence[BiplaneVolume]
) -> Measurement:
    flags: dict[Flag, None] = {flag: None for plane in planes for flag in plane.flags if flag != Flag.SINGLE_PLANE}
    flags |= dict.fromkeys(flag for item in diastole for flag in item.flags)
    known = [plane.confidence for plane in planes if plane.confidence is not None]
    return Measurement(
        quantity=quantity,
        value=value,
        method=METHOD,
        confidence=min(known, default=None),
        flags=tuple(flags),
        evidence=tuple(evidence for plane in planes for evidence in plane.evidence),
        details={
            "best_clip": planes[0].evidence[0].clip_id,
            "frames": {
                plane.evidence[0].clip_id: {phase: plane.details[phase] for phase in ("ed_frames", "es_frames")}
                for plane in planes
            },
            "planes": {View.A4C.value: planes[0].evidence[0].clip_id, View.A2C.value: planes[1].evidence[0].clip_id},
            "length_difference_percent": round(float(np.mean([d.length_difference_percent for d in diastole])), 2),
        },
    )
