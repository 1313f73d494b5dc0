"""The probe of real views: what the features tell is found, what only the source left out shows is not."""

from pathlib import Path

import numpy as np
import pytest
from real_view_probe import main, probe
from tiny_clip_folder import write_tiny_clip_folder

from echoapex.models.registry import find_set


def test_a_view_that_the_features_tell_is_found_in_a_source_left_out() -> None:
    rng = np.random.default_rng(0)
    views = ["A4C", "PLAX"] * 20
    sources = ["a"] * 20 + ["b"] * 20
    features = rng.standard_normal((40, 6))
    features[:, 0] += [9 if view == "A4C" else -9 for view in views]
    found = probe(features, views, sources)
    assert found.keys() == {"a", "b", "all"} and min(found.values()) >= 0.9
    noise = probe(rng.standard_normal((40, 6)), views, sources)
    assert noise["all"] < 0.85


def test_a_view_of_one_source_alone_cannot_be_named() -> None:
    features = np.eye(8)
    views, sources = ["A4C", "PLAX", "A4C", "PLAX", "A4C", "PLAX", "PSAX", "PSAX"], ["a"] * 4 + ["b"] * 4
    assert probe(features, views, sources)["b"] <= 2 / 3


def test_the_table_has_a_row_per_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source in ("a", "b"):
        write_tiny_clip_folder(tmp_path / source)
        table = tmp_path / source / "clips.csv"
        table.write_text(table.read_text().replace("A4C", "PLAX", 1))
    shipped = find_set("phantom").encoder
    assert main(["--folders", str(tmp_path), "--encoder", f"shipped={shipped}", "--size", "64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| encoder | a | b | all |" and lines[2].startswith("| shipped | ")


def test_one_source_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny_clip_folder(tmp_path / "a")
    assert main(["--folders", str(tmp_path), "--encoder", "any=nowhere"]) == 2
    assert "fewer than two sources" in capsys.readouterr().err
