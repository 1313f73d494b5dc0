"""The accuracy of chamber values: truths of a simulated study, and studies that may be scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from chamber_accuracy import main, solid_volumes_ml, true_values
from conftest import LabelledStudy

from echoapex.phantom.study import StudyPlan, write_study
from echoapex.phantom.truth import read_label_maps, write_truth
from echoapex.vocabulary import Quantity, Structure, View


def test_the_truth_of_a_study_is_that_of_its_label_maps_and_of_its_patient(labelled_study: LabelledStudy) -> None:
    truth = labelled_study.truth
    found = true_values(labelled_study.folder, truth)
    stroke = truth.edv_ml - truth.esv_ml
    assert found[Quantity.STROKE_VOLUME, "truth.json"] == pytest.approx(stroke)
    assert found[Quantity.CARDIAC_OUTPUT, "truth.json"] == pytest.approx(stroke * truth.patient.heart_rate_bpm / 1000)
    four = truth.find(View.A4C)
    assert four is not None
    labels = read_label_maps(labelled_study.folder / four.label_file)
    pixels = [np.count_nonzero(labels[frame] == Structure.RIGHT_VENTRICLE) for frame in (four.ed_frame, four.es_frame)]
    areas = [count * four.row_mm * four.column_mm / 100 for count in pixels]
    assert found[Quantity.RV_ED_AREA, "label maps"] == pytest.approx(areas[0], rel=0.02)
    assert found[Quantity.RV_FAC, "label maps"] == pytest.approx(100 * (1 - areas[1] / areas[0]), abs=2)


def test_the_rv_diameter_has_a_truth_only_where_the_image_shows_it(tmp_path: Path) -> None:
    """Seed 1000100 shows the anterior border far from the edge of the sector; that of 1000102 is cut off."""
    plan = StudyPlan(views=(View.PLAX,), size=160, label_frames="ed_es")
    shown = write_study(tmp_path / "shown", 1_000_100, plan)
    found = true_values(tmp_path / "shown", shown)
    exact = found[Quantity.RVIDD, "truth.json"]
    assert exact == pytest.approx(14.35, abs=0.1)
    assert found[Quantity.RVIDD, "label maps"] == pytest.approx(exact, abs=1.5)
    cut = write_study(tmp_path / "cut", 1_000_102, plan)
    assert Quantity.RVIDD not in {quantity for quantity, _ in true_values(tmp_path / "cut", cut)}


def test_the_left_atrium_of_a_simulated_heart_is_of_the_size_of_a_heart() -> None:
    volumes = solid_volumes_ml(1_000_007)
    assert all(10 < volume < 250 for volume in volumes.values())


def test_only_studies_that_no_weights_have_seen_are_scored(
    labelled_study: LabelledStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--studies", str(tmp_path)]) == 2
    assert "echoapex phantom" in capsys.readouterr().err
    write_truth(tmp_path / "study", labelled_study.truth.model_copy(update={"seed": 7}))
    assert main(["--studies", str(tmp_path)]) == 2
    assert "for training" in capsys.readouterr().err
