"""The study of few labels: what a probe is fitted to, whom it is fitted on, and its table."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_studies import draw_fan_clip
from label_efficiency import PARTS, bootstrap, choose_patients, covered_parts, dice, main, mean_by_patient
from label_efficiency_page import SHARES, UNITS

from echoapex.evaluate.card.labels import PROBE_PREFIX, read_probe_curves
from echoapex.evaluate.card.targets import PROBES, higher_is_better
from echoapex.vocabulary import Structure


def test_parts_of_patches_are_covered_where_the_structure_is() -> None:
    labels = np.zeros((32, 32), np.uint8)
    labels[:16, 16:24] = Structure.LV_CAVITY  # upper right patch of 2 x 2, left half
    labels[20:, :] = Structure.LEFT_ATRIUM
    parts = covered_parts(labels, 2, Structure.LV_CAVITY).reshape(4, PARTS, PARTS)
    assert parts[0].sum() == parts[2].sum() == parts[3].sum() == 0
    assert (parts[1][:, : PARTS // 2] == 1).all() and (parts[1][:, PARTS // 2 :] == 0).all()


def test_dice_of_each_image() -> None:
    found = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]], bool)
    truth = np.array([[1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]], bool)
    assert dice(found, truth).tolist() == pytest.approx([2 / 3, 1.0, 0.0])


def test_more_labels_hold_the_fewer_ones_and_never_less_than_two() -> None:
    patients = np.repeat(np.arange(40), 3)
    chosen = [set(choose_patients(patients, share, 7).tolist()) for share in SHARES]
    assert [len(each) for each in chosen] == [2, 2, 4, 20, 40]
    assert all(fewer <= more for fewer, more in itertools.pairwise(chosen))
    assert chosen[2] != set(choose_patients(patients, 0.1, 8).tolist())


def test_patients_weigh_alike_and_the_interval_holds_the_mean() -> None:
    by_patient = mean_by_patient(np.array([1.0, 0.0, 1.0, 1.0]), np.array([5, 5, 9, 9]))
    assert by_patient.tolist() == [0.5, 1.0]
    low, high = bootstrap(np.stack([by_patient, by_patient]))
    assert 0.5 <= low < 0.75 < high <= 1.0


def test_a_small_study_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--encoder", "random", "--out", str(tmp_path), "--patients", "3", "--judged", "2"]
    assert main([*arguments, "--size", "48", "--seeds", "1"]) == 0
    table = capsys.readouterr().out
    assert all(f"**{task}**" in table for task in ("views", "segmentation", "lv_wall", "ejection_fraction"))
    curves = read_probe_curves(tmp_path / "label_efficiency.json")
    assert {metric for curve in curves for point in curve.points for metric in point.scores} <= set(PROBES)


def test_real_clips_are_judged_as_whole_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("A4C", "PLAX"):
        (tmp_path / "clips" / name).mkdir(parents=True)
        for number in range(3):
            frame = draw_fan_clip(number + len(name), 1)[0]
            cv2.imwrite(str(tmp_path / "clips" / name / f"{number}.png"), frame)
    arguments = ["--encoder", "random", "--out", str(tmp_path), "--patients", "2", "--judged", "2"]
    real = ["--real", str(tmp_path / "clips"), "--size", "48", "--seeds", "1"]
    assert main([*arguments, *real]) == 0
    assert "**real_views** (share of clips called right)" in capsys.readouterr().out
    assert main([*arguments, "--real", str(tmp_path / "stores")]) == 2
    assert "holds no folder named after a view" in capsys.readouterr().err


def test_an_encoder_or_a_folder_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--encoder", "shiped", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["--encoder", f"mine={tmp_path}", "--out", str(tmp_path / "out")]) == 2
    assert main(["--encoder", "random", "--camus", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("many", [["--patients", "223"], ["--judged", "112"], ["--patients", "1"]])
def test_nobody_is_both_labelled_and_judged(
    many: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--encoder", "shiped", "--out", str(tmp_path), *many])
    assert "the seeds of others begin" in capsys.readouterr().err


def test_the_benchmark_card_knows_every_task_and_which_way_it_is_better() -> None:
    assert {f"{PROBE_PREFIX}{task}" for task in UNITS} == set(PROBES)
    errors = {task for task in UNITS if not higher_is_better(f"{PROBE_PREFIX}{task}")}
    assert errors == {"lv_wall", "ejection_fraction"}
