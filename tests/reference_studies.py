"""Reference studies with known geometry and values."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from drawn_studies import draw_sector

from echoapex.evaluate.reference import LabelMaps, ReferenceClip, ReferenceStudy
from echoapex.vocabulary import VISIBLE_STRUCTURES, Quantity, Structure, View

VENTRICLE_SIZE = 96
TIMES_S = tuple(frame * 0.03 for frame in range(12))


def square_labels() -> LabelMaps:
    """LV cavity, a square of 20 x 20, inside myocardium, a frame 30 x 30, on the frames 2 and 8."""
    labels = np.zeros((64, 64), np.uint8)
    labels[10:40, 10:40] = Structure.LV_MYOCARDIUM
    labels[15:35, 15:35] = Structure.LV_CAVITY
    return {2: labels, 8: labels.copy()}


def make_clip(patient: str, view: View) -> ReferenceClip:
    name = f"{patient}/{view}"
    digest = hashlib.sha256(name.encode()).hexdigest()
    return ReferenceClip(name, Path(name), digest, view, TIMES_S, VISIBLE_STRUCTURES[view], square_labels)


def make_study(number: int, views: tuple[View, ...] = (View.A4C, View.PLAX)) -> ReferenceStudy:
    ejection_fraction = 30.0 + 5 * number
    values = {
        Quantity.LVEF: ejection_fraction,
        Quantity.LVEF_DISCS: ejection_fraction,
        Quantity.EDV: 120.0,
        Quantity.ESV: 60.0,
        Quantity.IVSD: 9.0 + number,
        Quantity.LVIDD: 48.0,
        Quantity.LVPWD: 8.0,
    }
    patient = f"patient-{number}"
    return ReferenceStudy(patient, tuple(make_clip(patient, view) for view in views), values)


def ventricle(width: float, length: float) -> np.ndarray:
    """A half ellipse, base down, with an atrium below it."""
    y, x = np.mgrid[:VENTRICLE_SIZE, :VENTRICLE_SIZE].astype(float)
    labels = np.zeros((VENTRICLE_SIZE, VENTRICLE_SIZE), np.uint8)
    inside = ((x - 48) / (width / 2)) ** 2 + ((y - 70) / length) ** 2 <= 1
    labels[inside & (y <= 70)] = Structure.LV_CAVITY
    labels[(abs(x - 48) < width / 2) & (y > 70) & (y < 90)] = Structure.LEFT_ATRIUM
    return labels


def write_camus_archive(root: Path) -> None:
    """One patient of the split val in the layout of camus224.npz."""
    ed, es = ventricle(40, 60), ventricle(28, 52)
    image = draw_sector((VENTRICLE_SIZE, VENTRICLE_SIZE), 4).reshape(1, 2, 2, VENTRICLE_SIZE, VENTRICLE_SIZE)
    np.savez(
        root / "camus224.npz",
        image=image,
        mask=np.array([[[ed, es], [ed, es]]]),
        patient=np.array(["patient0007"]),
        split=np.array(["val"]),
        view=np.array(["2CH", "4CH"]),
        phase=np.array(["ED", "ES"]),
    )
    (root / "patients_info.csv").write_text("Patient,Sex,EF\npatient0007,F,51\n")
