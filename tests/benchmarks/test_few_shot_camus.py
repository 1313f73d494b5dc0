"""The study of CAMUS with few labelled patients: its runs, its table, and what it refuses."""

import json
from pathlib import Path

import pytest
from few_shot_camus import SCORES, main, open_start
from tiny_camus import write_tiny_camus

from echoapex.models.bundle import build_encoder_from, load_bundle


def test_a_small_study_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_tiny_camus(tmp_path / "camus", training=5)
    typed = ["--root", str(root), "--out", str(tmp_path / "runs/study"), "--start", "random", "--held-back", "2"]
    assert main([*typed, "--patients", "1", "2", "--steps", "1"]) == 0
    results = json.loads((tmp_path / "runs/study/few_shot_camus.json").read_text())
    assert set(results["random"]) == set(SCORES)
    for rows in results["random"].values():
        assert [row["patients"] for row in rows] == [1, 2]
        assert all(row["low"] <= row["score"] <= row["high"] for row in rows)
    assert "| encoder | 1 | 2 |" in capsys.readouterr().out


def test_a_random_start_is_the_same_every_time(tmp_path: Path) -> None:
    (_, first), (_, second) = (open_start("random-small", tmp_path / name) for name in ("a", "b"))
    assert load_bundle(first).digest == load_bundle(second).digest
    assert build_encoder_from(load_bundle(first)).config.patch_size == 14


def test_what_cannot_be_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["--root", str(tmp_path / "none"), "--out", str(tmp_path / "runs/study")]
    assert main([*typed, "--start", "rnd"]) == 2
    assert capsys.readouterr().err == "--start rnd: give random, random-small or NAME=DIRECTORY\n"
    assert main([*typed, "--start", "random", "--patients", "1"]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(SystemExit):
        main([*typed, "--start", "random", "--seeds", "1"])
