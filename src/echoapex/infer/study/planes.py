"""Values of the two apical planes of a study taken together: biplane volumes, strain and LV length.

The best apical four- and two-chamber clips of a study are taken. Shapes are computed again from the contours in the
evidence, so each of these values depends only on data that is written to the results. Two loops of one plane are no
biplane, and a plane whose view is uncertain is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product

import numpy as np

from echoapex.domain import ClipReport, Evidence, Flag, Measurement
from echoapex.infer.clip.outlines import atrial_shape_from_evidence, shape_from_evidence
from echoapex.measure import (
    AtrialShape,
    BiplaneVolume,
    MeasureError,
    biplane_atrial_area_length_volume,
    biplane_atrial_disc_volume,
    biplane_volume,
    ejection_fraction_percent,
)
from echoapex.measure.chambers import LENGTH_TOLERANCE_PERCENT
from echoapex.measure.combine import clip_weight
from echoapex.vocabulary import Quantity, Structure, View

METHOD = "biplane discs"
ATRIAL_DISCS = "biplane discs at end-systole"
ATRIAL_AREA_LENGTH = "biplane area-length at end-systole"
STRAIN_METHOD = "length of the endocardial contour, mean of A4C and A2C"
LV_LENGTH_METHOD = "mitral plane to apex, the longer of A4C and A2C"

Planes = dict[View, Measurement]


def measure_two_planes(clips: Sequence[ClipReport]) -> dict[Quantity, Measurement]:
    """All values of two planes: LV volumes and EF, left atrial volumes, strain and LV length, those that there are."""
    return measure_biplane(clips) | measure_left_atrium(clips) | measure_mean_strain(clips) | measure_lv_length(clips)


def measure_biplane(clips: Sequence[ClipReport]) -> dict[Quantity, Measurement]:
    """EDV, ESV and EF by biplane discs.

    Empty where a plane is missing, not calibrated, of an uncertain view, or cannot be measured: two loops of one plane
    are no biplane.
    """
    planes = _certain_planes(clips, Quantity.EDV)
    if not planes:
        return {}
    try:
        diastole = _volumes(planes, "ed_frames")
        systole = _volumes(planes, "es_frames")
        end_diastolic = float(np.mean([item.volume_ml for item in diastole]))
        end_systolic = float(np.mean([item.volume_ml for item in systole]))
        values = {
            Quantity.LVEF_DISCS: ejection_fraction_percent(end_diastolic, end_systolic),
            Quantity.EDV: end_diastolic,
            Quantity.ESV: end_systolic,
        }
    except (MeasureError, KeyError):
        return {}
    details = {
        "frames": {
            plane.evidence[0].clip_id: {phase: plane.details[phase] for phase in ("ed_frames", "es_frames")}
            for plane in planes.values()
        },
        "length_difference_percent": _mean_difference(diastole),
    }
    return {
        quantity: _measurement(quantity, value, METHOD, planes, _flags_of(diastole), details)
        for quantity, value in values.items()
    }


def measure_left_atrium(clips: Sequence[ClipReport]) -> dict[Quantity, Measurement]:
    """Left atrial volume at end-systole by biplane discs and by biplane area-length; empty as for the LV."""
    planes = _certain_planes(clips, Quantity.LA_VOLUME)
    if not planes:
        return {}
    routes: dict[Quantity, tuple[str, Callable[[AtrialShape, AtrialShape], BiplaneVolume]]] = {
        Quantity.LA_VOLUME: (ATRIAL_DISCS, biplane_atrial_disc_volume),
        Quantity.LA_VOLUME_AREA_LENGTH: (ATRIAL_AREA_LENGTH, biplane_atrial_area_length_volume),
    }
    try:
        shapes = [
            [
                atrial_shape_from_evidence(plane.evidence[0], Structure.LEFT_ATRIUM, frame)
                for (frame,) in plane.details["beat_frames"]
            ]
            for plane in planes.values()
        ]
    except (MeasureError, KeyError):
        return {}
    found = {}
    for quantity, (method, compute) in routes.items():
        volumes = [compute(*pair) for pair in product(*shapes)]
        value = float(np.mean([item.volume_ml for item in volumes]))
        details = {"frames": _beat_frames(planes), "length_difference_percent": _mean_difference(volumes)}
        found[quantity] = _measurement(quantity, value, method, planes, _flags_of(volumes), details)
    return found


def measure_mean_strain(clips: Sequence[ClipReport]) -> dict[Quantity, Measurement]:
    """Strain of the endocardial contour as the mean of both planes; empty where one is missing or uncertain."""
    planes = _certain_planes(clips, Quantity.GLS_ENDOCARDIAL)
    if not planes:
        return {}
    value = float(np.mean([plane.value for plane in planes.values()]))
    details = {"frames": _beat_frames(planes), "plane_values": _plane_values(planes)}
    quantity = Quantity.GLS_ENDOCARDIAL
    return {quantity: _measurement(quantity, value, STRAIN_METHOD, planes, (), details)}


def measure_lv_length(clips: Sequence[ClipReport]) -> dict[Quantity, Measurement]:
    """LV length at end-diastole as the longer of both planes: a foreshortened plane shows it too short."""
    planes = _certain_planes(clips, Quantity.LV_LENGTH)
    if not planes:
        return {}
    lengths = [plane.value for plane in planes.values()]
    shorter, longer = sorted(lengths)
    difference = 100 * (longer - shorter) / longer
    flags = (Flag.PLANES_DISAGREE,) if difference > LENGTH_TOLERANCE_PERCENT else ()
    details = {
        "frames": _beat_frames(planes),
        "plane_values": _plane_values(planes),
        "length_difference_percent": round(difference, 2),
    }
    quantity = Quantity.LV_LENGTH
    return {quantity: _measurement(quantity, longer, LV_LENGTH_METHOD, planes, flags, details)}


def uncertain_planes(clips: Sequence[ClipReport]) -> tuple[View, ...]:
    """Of the two planes that would be taken together, those of which nobody can be sure; empty where one is missing."""
    planes = _best_planes(clips, Quantity.EDV)
    return tuple(view for view, plane in planes.items() if Flag.VIEW_UNCERTAIN in plane.flags)


def _certain_planes(clips: Sequence[ClipReport], quantity: Quantity) -> Planes:
    """The best planes; empty where one is missing or of an uncertain view."""
    planes = _best_planes(clips, quantity)
    return {} if any(Flag.VIEW_UNCERTAIN in plane.flags for plane in planes.values()) else planes


def _best_planes(clips: Sequence[ClipReport], quantity: Quantity) -> Planes:
    """What ``_best_plane`` finds of both views, four-chamber first; empty where one is missing."""
    found = {view: _best_plane(clips, view, quantity) for view in (View.A4C, View.A2C)}
    planes = {view: plane for view, plane in found.items() if plane is not None}
    return planes if len(planes) == len(found) else {}


def _best_plane(clips: Sequence[ClipReport], view: View, quantity: Quantity) -> Measurement | None:
    """The value of a quantity in the clip of a view that counts most."""
    found = [item for clip in clips if clip.view is view for item in clip.measurements if item.quantity is quantity]
    return max(found, key=clip_weight, default=None)


def _volumes(planes: Planes, phase: str) -> list[BiplaneVolume]:
    """Volumes of every pairing of the beats of both planes at one phase; the planes beat at different times."""
    shapes = [
        [shape_from_evidence(plane.evidence[0], frame) for frame in plane.details[phase]] for plane in planes.values()
    ]
    return [biplane_volume(*pair) for pair in product(*shapes)]


def _mean_difference(volumes: Sequence[BiplaneVolume]) -> float:
    return round(float(np.mean([item.length_difference_percent for item in volumes])), 2)


def _flags_of(volumes: Sequence[BiplaneVolume]) -> tuple[Flag, ...]:
    return tuple(dict.fromkeys(flag for item in volumes for flag in item.flags))


def _beat_frames(planes: Planes) -> dict[str, list[list[int]]]:
    return {plane.evidence[0].clip_id: plane.details["beat_frames"] for plane in planes.values()}


def _plane_values(planes: Planes) -> dict[str, float]:
    return {view.value: plane.value for view, plane in planes.items()}


def _measurement(
    quantity: Quantity,
    value: float,
    method: str,
    planes: Planes,
    flags: Iterable[Flag],
    details: Mapping[str, object],
) -> Measurement:
    """A value of both planes: their flags but that of a single plane, and the weaker confidence."""
    both = tuple(planes.values())
    own: dict[Flag, None] = {flag: None for plane in both for flag in plane.flags if flag != Flag.SINGLE_PLANE}
    known = [plane.confidence for plane in both if plane.confidence is not None]
    clip_ids = {view.value: plane.evidence[0].clip_id for view, plane in planes.items()}
    evidence: tuple[Evidence, ...] = tuple(item for plane in both for item in plane.evidence)
    return Measurement(
        quantity=quantity,
        value=value,
        method=method,
        confidence=min(known, default=None),
        flags=tuple(own | dict.fromkeys(flags)),
        evidence=evidence,
        details={"best_clip": both[0].evidence[0].clip_id, "planes": clip_ids, **details},
    )
