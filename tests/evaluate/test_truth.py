"""CAMUS packed for analysis: lossless, matched by digest, and discs on the outlines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reference_studies import ventricle, write_camus_archive
from written_results import write_results

from echoapex.evaluate.harness import score_predictions
from echoapex.evaluate.metrics_file import Score
from echoapex.evaluate.reference import read_predictions
from echoapex.evaluate.truth import pack_camus
from echoapex.io.clip_source import load_clip
from echoapex.io.dicom.reader import open_dicom
from echoapex.vocabulary import Quantity, View


def test_packed_clips_hold_the_pixels_and_the_truth(tmp_path: Path) -> None:
    write_camus_archive(tmp_path)
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
    write_camus_archive(tmp_path)
    first, second = (pack_camus(tmp_path, "val", tmp_path / name) for name in "ab")
    assert [clip.sha256 for clip in first.studies[0].clips] == [clip.sha256 for clip in second.studies[0].clips]


def test_discs_come_from_the_written_masks(tmp_path: Path) -> None:
    """The report of so short a clip has no ejection fraction, its masks do."""
    write_camus_archive(tmp_path)
    reference = pack_camus(tmp_path, "val", tmp_path / "inputs")
    write_results(tmp_path / "results", reference.studies[0], values={})
    metrics, _ = score_predictions(reference, read_predictions(tmp_path / "results"))
    assert metrics.ejection_fraction_discs.mae.value == pytest.approx(0, abs=1e-9)
    assert metrics.ejection_fraction.method is Quantity.LVEF_DISCS
    true = 100 * (1 - 28**2 * 52 / (40**2 * 60))
    assert metrics.ejection_fraction.mae.value == pytest.approx(true - 51, abs=1.5)
    assert "release" in metrics.ejection_fraction.reference
    assert metrics.segmentation.left_atrium.dice.value == 1
    assert metrics.segmentation.right_ventricle.dice == Score()
