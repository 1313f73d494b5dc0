"""CAMUS packed for analysis: lossless, matched by digest, and discs on the outlines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echoapex.data.datasets.camus import CamusImage, CamusPatient
from echoapex.domain import Spacing
from echoapex.evaluate.camus_truth import ejection_fraction_of_outlines, pack_camus
from echoapex.io.clip_source import load_clip
from echoapex.io.dicom import open_dicom
from echoapex.vocabulary import Quantity, Structure, View

SIZE = 96


def ventricle(width: float, length: float) -> np.ndarray:
    """A half ellipse, base down, with an atrium below it."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    labels = np.zeros((SIZE, SIZE), np.uint8)
    inside = ((x - 48) / (width / 2)) ** 2 + ((y - 70) / length) ** 2 <= 1
    labels[inside & (y <= 70)] = Structure.LV_CAVITY
    labels[(abs(x - 48) < width / 2) & (y > 70) & (y < 90)] = Structure.LEFT_ATRIUM
    return labels


def write_archive(root: Path) -> None:
    ed, es = ventricle(40, 60), ventricle(28, 52)
    image = np.random.default_rng(0).integers(0, 255, (1, 2, 2, SIZE, SIZE)).astype(np.uint8)
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


def test_packed_clips_hold_the_pixels_and_the_truth(tmp_path: Path) -> None:
    write_archive(tmp_path)
    reference = pack_camus(tmp_path, "val", tmp_path / "inputs")
    (study,) = reference.studies
    assert [clip.view for clip in study.clips] == [View.A4C, View.A2C]
    assert study.values[Quantity.LVEF] == 51
    assert reference.ejection_fraction_method is Quantity.LVEF_DISCS
    a4c = study.clips[0]
    clip = load_clip(open_dicom(a4c.path))
    with np.load(tmp_path / "camus224.npz") as arrays:
        assert (clip.frames == arrays["image"][0, 1]).all()
    assert clip.header.spacing is None
    labels = a4c.read_labels()
    assert (labels[0] == ventricle(40, 60)).all()
    assert (labels[1] == ventricle(28, 52)).all()


def test_packing_again_gives_the_same_digests(tmp_path: Path) -> None:
    write_archive(tmp_path)
    first, second = (pack_camus(tmp_path, "val", tmp_path / name) for name in "ab")
    assert [clip.sha256 for clip in first.studies[0].clips] == [clip.sha256 for clip in second.studies[0].clips]


@pytest.mark.parametrize("spacing", [Spacing(0.5, 0.5), None], ids=["calibrated", "uncalibrated"])
def test_discs_on_half_ellipsoids(spacing: Spacing | None) -> None:
    planes = [
        [
            CamusImage(CamusPatient("p", None), view, phase, labels, labels, spacing, "" if spacing else "none")
            for phase, labels in (("ED", ventricle(40, 60)), ("ES", ventricle(28, 52)))
        ]
        for view in (View.A4C, View.A2C)
    ]
    true = 100 * (1 - 28**2 * 52 / (40**2 * 60))
    assert ejection_fraction_of_outlines(planes) == pytest.approx(true, abs=1.5)
    assert ejection_fraction_of_outlines(planes[:1]) == pytest.approx(true, abs=1.5)
    assert ejection_fraction_of_outlines([planes[0][:1]]) is None
