"""What the figures of training runs and of probes are called, and which way they are better."""

from __future__ import annotations

from echoapex.vocabulary import Structure

PROBES = {
    "probe/views": "Probe of views: balanced accuracy",
    "probe/segmentation": "Probe of the LV cavity, phantom: Dice of parts of patches",
    "probe/camus": "Probe of the LV cavity, CAMUS: Dice of parts of patches",
    "probe/real_views": "Probe of views, real clips: share called right",
    "probe/lv_wall": "Probe of LV walls: distance of end points in mm",
    "probe/ejection_fraction": "Probe of ejection fraction: mean absolute error in points",
}
"""Tasks of ``benchmarks/label_efficiency.py``."""

_RUNS = {
    "ef_mae": "Ejection fraction: mean absolute error in points",
    "view_frame_accuracy": "Views: accuracy of single frames",
    "wall_point_px": "LV walls: distance of end points in pixels",
    "ivs_px": "Interventricular septum: mean absolute error in pixels",
    "lvid_px": "LV internal diameter: mean absolute error in pixels",
    "lvpw_px": "LV posterior wall: mean absolute error in pixels",
}
_DICE = {f"dice_{structure.key}": f"Dice, {structure.display_name}" for structure in Structure}
_LOWER = frozenset({"probe/lv_wall", "probe/ejection_fraction", *_RUNS} - {"view_frame_accuracy"})


def metric_label(metric: str) -> str:
    """A figure in words.

    >>> metric_label("dice_lv_cavity"), metric_label("something_else")
    ('Dice, LV cavity', 'something else')
    """
    return (PROBES | _RUNS | _DICE).get(metric, metric.replace("_", " ").replace("/", ", "))


def higher_is_better(metric: str) -> bool | None:
    """Which way a figure is better; None where neither is, as of a temperature, or where the figure is not known.

    >>> higher_is_better("dice_lv_cavity"), higher_is_better("ef_mae"), higher_is_better("view_temperature")
    (True, False, None)
    """
    if metric in _LOWER:
        return False
    return True if metric in PROBES or metric in _RUNS or metric in _DICE else None
