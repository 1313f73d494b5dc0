"""Values in words for pictures, rounded as a clinician writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from echoapex.domain import ClipReport, Measurement
from echoapex.vocabulary import Quantity

_SHORT = {
    Quantity.LVEF: "EF",
    Quantity.LVEF_DISCS: "EF discs",
    Quantity.EDV: "EDV",
    Quantity.ESV: "ESV",
    Quantity.IVSD: "IVSd",
    Quantity.LVIDD: "LVIDd",
    Quantity.LVPWD: "LVPWd",
    Quantity.LV_MASS: "LV mass",
    Quantity.LV_MASS_INDEX: "LV mass index",
    Quantity.RWT: "RWT",
    Quantity.EDV_INDEX: "EDV index",
    Quantity.ESV_INDEX: "ESV index",
    Quantity.BSA: "BSA",
    Quantity.HEART_RATE: "HR",
}
_DECIMALS = {Quantity.RWT: 2, Quantity.BSA: 2, Quantity.IVSD: 1, Quantity.LVPWD: 1}
LOOK_TWICE = "* look twice"
"""What the asterisk of a flagged value says."""
_UNITS = {"1": ""}  # UCUM says 1 where there is no unit


def short_name(quantity: Quantity) -> str:
    """The abbreviation of the guideline."""
    return _SHORT[quantity]


def value_text(measurement: Measurement) -> str:
    """``56 %``, ``9.6 mm``; flagged values carry an asterisk."""
    unit = _UNITS.get(measurement.unit, measurement.unit)
    number = f"{measurement.value:.{_DECIMALS.get(measurement.quantity, 0)}f}"
    star = "*" if measurement.flags else ""
    return f"{number}{' ' + unit if unit else ''}{star}"


def value_line(measurements: Iterable[Measurement], quantities: Sequence[Quantity]) -> str:
    """The values of some quantities on one line, those that are there."""
    by_quantity = {item.quantity: item for item in measurements}
    found = [by_quantity[quantity] for quantity in quantities if quantity in by_quantity]
    return "    ".join(f"{short_name(item.quantity)} {value_text(item)}" for item in found)


def view_text(clip: ClipReport) -> str:
    """The view with its probability, or that there is none."""
    if clip.set_aside:
        return "Set aside"
    if clip.view is None:
        return "No view"
    return f"{clip.view.display_name}  {100 * clip.view_probabilities.get(clip.view, 0):.0f} %"


def clip_lines(clip: ClipReport) -> tuple[str, ...]:
    """What is said of a clip below its picture: one or two lines of values, or why it was set aside."""
    if clip.set_aside:
        return (clip.set_aside,)
    functional = value_line(clip.measurements, (Quantity.LVEF, Quantity.LVEF_DISCS, Quantity.EDV, Quantity.ESV))
    walls = value_line(clip.measurements, (Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD))
    rate = value_line(clip.measurements, (Quantity.HEART_RATE,))
    return tuple(line for line in (functional, walls, rate) if line)[:2]
