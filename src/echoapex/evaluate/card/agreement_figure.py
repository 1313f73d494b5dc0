"""Bland and Altman's plot: the difference of measured and true over their mean, with bias and limits of agreement."""

from __future__ import annotations

from echoapex.evaluate.card.card_file import Agreement
from echoapex.evaluate.card.drawing import Axis, axes, box, dot, line, number_text, svg, text

_WIDTH, _HEIGHT = 340, 262
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 278, 34, 214


def draw_agreement(found: Agreement) -> str:
    """One quantity of one part. Source: Bland & Altman, Lancet 1986, doi 10.1016/S0140-6736(86)90837-8."""
    means = [(truth + measured) / 2 for truth, measured in found.pairs]
    differences = [measured - truth for truth, measured in found.pairs]
    across = _axis(means, (_LEFT, _RIGHT))
    up = _axis([*differences, found.lower, found.upper, 0.0], (_BOTTOM, _TOP))
    labels = (f"mean of measured and true, {found.unit}", "measured − true")
    parts = [box(_LEFT, up.place(found.upper), _RIGHT - _LEFT, up.place(found.lower) - up.place(found.upper), "band")]
    parts += axes(across, up, labels, (across.ticks(4), up.ticks(5)))
    parts.append(line(_LEFT, up.place(0), _RIGHT, up.place(0), "rule"))
    for value, style, name in (
        (found.upper, "limit", "+1.96 SD"),
        (found.bias, "mean", "bias"),
        (found.lower, "limit", "−1.96 SD"),
    ):
        y = up.place(value)
        parts.append(line(_LEFT, y, _RIGHT, y, style))
        parts.append(text(_RIGHT + 6, y - 1, name, "small"))
        parts.append(text(_RIGHT + 6, y + 10, number_text(round(value, 1)), "tick"))
    for (truth, measured), mean, difference in zip(found.pairs, means, differences, strict=True):
        said = f"true {truth:.1f}, measured {measured:.1f}"
        parts.append(dot(across.place(mean), up.place(difference), 3.6, "dots", said))
    parts.append(text(_LEFT - 42, 14, found.quantity.display_name, "title"))
    return svg(_WIDTH, _HEIGHT, parts, f"Bland-Altman plot of {found.quantity.display_name}, {found.part}")


def _axis(values: list[float], pixels: tuple[float, float]) -> Axis:
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 1.0
    return Axis(low - margin, high + margin, *pixels)
