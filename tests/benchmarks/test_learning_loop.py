"""The benchmark of the learning loop: a small one end to end, what it stores, and its tables."""

from __future__ import annotations

import json
from pathlib import Path

import learning_loop
import numpy as np
import pytest
from learning_loop import Outlined, main, mean_dice, summarise
from tiny_camus import write_tiny_camus
from tiny_tasks import build_tasks, save_set

from echoapex.data.datasets.corrections import CorrectionsDataset
from echoapex.vocabulary import Structure


def test_a_small_loop_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("NEXT_PATIENTS", 1), ("MOST_CLICKS", 2), ("SIMULATED", 1)):
        monkeypatch.setattr(learning_loop, name, value)
    root = write_tiny_camus(tmp_path / "camus", training=5, validation=1)
    start = save_set(build_tasks(), tmp_path / "start")
    typed = [
        "--root",
        str(root),
        "--out",
        str(tmp_path / "out"),
        "--start",
        str(start),
        "--patients",
        "4",
        "--steps",
        "1",
    ]
    assert main([*typed, "--photographs", str(start / "encoder")]) == 0
    found = json.loads((tmp_path / "out" / "learning_loop.json").read_text())
    first, last = found["rows"]
    assert set(first["val"]) == {"all", "lv_cavity", "lv_myocardium", "left_atrium"}
    assert last["teach"] == 2, "patients 3 and 4 judge"
    assert last["spent"]["all"]["dice"]["n"] == 4 * 2 * 2 * 3
    assert last["val"]["all"]["dice"]["n"] == last["next_before"]["all"]["clicks"]["n"] == 12
    assert 0 <= last["held_back"]["before"] <= 1
    assert "dice_right_ventricle" in last["simulated"]
    table = capsys.readouterr().out
    assert "| corrected patients | LV cavity | LV myocardium | Left atrium | all three |" in table.replace(
        "left", "Left"
    )
    assert len({line.count("|") for line in table.split("\n\n")[1].splitlines() if line}) == 1
    stored = next(CorrectionsDataset(tmp_path / "out" / "state").records())
    assert stored.outlined == (Structure.LV_CAVITY, Structure.LV_MYOCARDIUM, Structure.LEFT_ATRIUM)
    assert {frame: labels.shape for frame, labels in stored.read_labels().items()} == {0: (96, 96), 1: (96, 96)}
    monkeypatch.setattr(learning_loop.Loop, "judge", lambda loop, weights: pytest.fail("was done already"))
    assert main([*typed, "--photographs", str(start / "encoder")]) == 0


def test_clicks_and_dice_are_means_over_outlines() -> None:
    cases = [
        Outlined("a", "lv_cavity", 0.8, 4),
        Outlined("b", "lv_cavity", 1.0, 0),
        Outlined("b", "left_atrium", 0.5, 10),
    ]
    found = summarise(cases)
    assert found["lv_cavity"]["dice"]["value"] == pytest.approx(0.9)
    assert found["all"]["clicks"]["value"] == pytest.approx(14 / 3)
    assert np.isclose(mean_dice({"dice_lv_cavity": 0.5, "dice_left_atrium": 0.7, "other": 9.0}), 0.6)


def test_what_cannot_be_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
