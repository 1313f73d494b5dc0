"""The study of few labels with networks that learn: its runs, its intervals, and what it refuses."""

import json
from pathlib import Path

import pytest
import yaml
from finetuned_labels import SCORES, main, sum_up

STORE = {"patients": 4, "views": ["A4C", "PLAX"], "frames": 2, "labelled": 2, "native_size": 96, "size": 64}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    values = {
        "task": {
            "kind": "multitask",
            "encoder": {"size": "tiny", "patch_size": 16, "in_channels": 1, "image_size": 64, "layer_scale": 1.0},
            "weights": {"volume": 0.5},
            "stores": {"views": STORE},
            "validation": {**STORE, "patients": 2, "first_seed": 190_000},
            "frames": {"batch_size": 4, "frames_per_clip": 2, "sizes": [[0, 64]]},
        },
        "provenance": {"name": "study", "training_data": ["phantom"]},
        "train": {"steps": 1, "score_every": 1, "checkpoint_every": 1},
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_mean_and_interval_of_the_seeds() -> None:
    scores = [dict.fromkeys((name for name, _ in SCORES.values()), value) for value in (0.1, 0.2, 0.3)]
    (row,) = sum_up({225: scores}, 4500, {task: name for task, (name, _) in SCORES.items()})["views"]
    assert (row["share"], row["patients"], row["score"]) == (0.05, 225, pytest.approx(0.2))
    assert (row["low"], row["high"]) == (pytest.approx(0.2 - 0.2484, abs=1e-4), pytest.approx(0.2 + 0.2484, abs=1e-4))


def test_a_small_study_goes_on_where_it_was(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["--start", "random", "--out", str(tmp_path / "out"), "--recipe", str(recipe), "--seeds", "2"]
    assert main([*typed, "--shares", "50"]) == 0
    first = json.loads((tmp_path / "out/finetuned_labels.json").read_text())
    begun = (tmp_path / "out/random/50-percent-seed-0/journal.jsonl").read_text()
    assert main([*typed, "--shares", "50", "100"]) == 0
    both = json.loads((tmp_path / "out/finetuned_labels.json").read_text())
    assert (tmp_path / "out/random/50-percent-seed-0/journal.jsonl").read_text() == begun, "not run again"
    for task, rows in both["random"].items():
        assert rows[0] == first["random"][task][0]
        assert [row["patients"] for row in rows] == [4, 8]
    table = capsys.readouterr().out
    assert all(f"**{task}**" in table for task in SCORES)


def test_what_cannot_be_run_is_one_line(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert main(["--start", "rnd", *out]) == 2
    assert capsys.readouterr().err == "--start rnd: give random or NAME=DIRECTORY\n"
    assert main(["--start", f"mine={tmp_path}", *out]) == 2
    assert main(["--start", "random", "--recipe", "camus_segmentation", *out]) == 2
    assert "not a recipe of kind multitask" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--start", "random", "--seeds", "1", *out])
    assert not (tmp_path / "out").exists()
