"""Masks of half-ellipsoid ventricles whose volume is known in closed form."""

import numpy as np

from echoapex.domain import Spacing


def half_ellipse(
    spacing: Spacing,
    width_mm: float = 44.0,
    length_mm: float = 84.0,
    turned_degrees: float = 0.0,
    size_mm: float = 200.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Masks of an LV (half-ellipse, base down, apex up) and of the atrium under its base, turned about the middle."""
    rows = (np.arange(round(size_mm / spacing.row_mm)) * spacing.row_mm)[:, None] - size_mm / 2
    columns = (np.arange(round(size_mm / spacing.column_mm)) * spacing.column_mm)[None] - size_mm / 2
    angle = np.deg2rad(turned_degrees)
    x = np.cos(angle) * columns + np.sin(angle) * rows
    up = np.sin(angle) * columns - np.cos(angle) * rows + length_mm / 2
    lv = (up >= 0) & ((x / (width_mm / 2)) ** 2 + (up / length_mm) ** 2 <= 1)
    atrium = (up < 0) & ((x / (0.45 * width_mm)) ** 2 + ((up + 15) / 20) ** 2 <= 1)
    return lv, atrium


def half_ellipsoid_ml(width_mm: float, other_width_mm: float, length_mm: float) -> float:
    """Volume of half an ellipsoid cut across its middle."""
    return 2 / 3 * np.pi * width_mm / 2 * other_width_mm / 2 * length_mm / 1000
