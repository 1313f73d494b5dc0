"""The development score: coarse classes, flicker and the table, by hand-made label maps and one small folder."""

import json
from pathlib import Path

import numpy as np
import pytest
from real_world import Call, SourceScore, coarse, main, measure_flicker, write_table
from tiny_clip_folder import outline_tiny_clip_folder, write_tiny_clip_folder

from echoapex.vocabulary import Structure, View


def disc(radius: float, structure: Structure = Structure.LV_CAVITY) -> np.ndarray:
    rows, columns = np.mgrid[0:64, 0:64]
    return np.where(np.hypot(rows - 32, columns - 32) < radius, int(structure), 0).astype(np.uint8)


def test_a_steady_clip_does_not_flicker() -> None:
    steady = measure_flicker({frame: disc(10 + frame) for frame in range(6)}, View.A4C)
    assert (steady.frames, steady.without_lv, steady.name_changes) == (6, 0, 0)
    assert steady.area_jitter_percent is not None and steady.area_jitter_percent < 1


def test_vanishing_renaming_and_jumping_are_counted() -> None:
    maps = {0: disc(10), 1: disc(0), 2: disc(10), 3: disc(10, Structure.RIGHT_VENTRICLE), 4: disc(10)}
    flicker = measure_flicker(maps, View.A4C)
    assert (flicker.without_lv, flicker.name_changes, flicker.area_jitter_percent) == (2, 2, None)
    jumping = measure_flicker({frame: disc(10 if frame % 2 else 12) for frame in range(7)}, View.A2C)
    assert jumping.area_jitter_percent == pytest.approx(37, abs=12)
    assert measure_flicker(maps, View.SUBCOSTAL_IVC).without_lv == 0, "a view that shows no LV may lack it"


def test_eight_coarse_classes() -> None:
    assert {coarse(view) for view in View} == {"A4C", "A2C", "A3C", "A5C", "PLAX", "PSAX", "subcostal", "other"}


def test_the_last_row_counts_only_what_nothing_was_learnt_from() -> None:
    seen, unseen = SourceScore(True), SourceScore(False)
    seen.calls = [Call("a", View.A4C, View.A4C, 0.9)]
    unseen.calls = [
        Call("b", View.A4C, View.A2C, 0.9),
        Call("c", View.PSAX_AV, View.PSAX_PM, 0.9),
        Call("d", View.PLAX, None, 0.3),
    ]
    table = write_table({"seen": seen, "unseen": unseen}).splitlines()
    assert table[2].startswith("| seen (learnt from) | 1 | 1 | 1 | 0 | 0 | 0 |")
    assert table[4].startswith("| all not learnt from | 3 | 0.3333 | 0 | 1 | 1 | 1 |")


def test_a_folder_is_scored_with_views_and_outlines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outline_tiny_clip_folder(tmp_path / "own", write_tiny_clip_folder(tmp_path / "own"))
    assert main(["--folders", str(tmp_path), "--out", str(tmp_path / "scores")]) == 0
    assert "| own | 3 | " in capsys.readouterr().out
    scores = json.loads((tmp_path / "scores" / "real_world.json").read_text())
    assert scores["own"]["clips"] == 3 and 0 <= scores["own"]["dice_lv_cavity"] <= 1
    assert len(scores["own"]["calls"]) == 3


def test_no_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--folders", str(tmp_path), "--out", str(tmp_path / "scores")]) == 2
    assert "holds no folder with clips.csv" in capsys.readouterr().err
