"""The table of real clips: folders are found by the name of their view, and only what was called right counts."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real_clips import RealClipsError, Row, find_real_clips, main, write_table

from echoapex.phantom import simulate_clip
from echoapex.vocabulary import View


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for name, view in (("A4C", View.A4C), ("PSAX-AV", View.PSAX_AV)):
        (folder / name).mkdir()
        for number, frame in enumerate(simulate_clip(view, 1_000_003, frames=6).frames):
            Image.fromarray(np.asarray(frame)).save(folder / name / f"{number:03d}.png")
    (folder / "notes").mkdir()
    return folder


def test_folders_named_after_views_are_clips(clips: Path) -> None:
    found = {path.name: view for path, view in find_real_clips(clips)}
    assert found["A4C"] is View.A4C and found["PSAX-AV"] is View.PSAX_AV
    assert "notes" not in found


def test_a_folder_without_views_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RealClipsError, match="A4C"):
        list(find_real_clips(tmp_path))
    assert main(["--clips", str(tmp_path)]) == 2
    assert "holds no folder" in capsys.readouterr().err


def test_only_right_calls_are_counted() -> None:
    rows = [Row("a", "A4C", "A4C", 0.9), Row("b", "A2C", "A4C", 0.8), Row("c", "PLAX", None, 0.1)]
    table = write_table(rows)
    assert table.endswith("1 of 3 right") and "| c | PLAX | set aside | 0.10 |" in table


def test_the_analysis_names_the_view_of_each(
    clips: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("real_clips.REAL_FILES", ())
    assert main(["--clips", str(clips), "--probe", "tte", "--out", str(tmp_path / "rows.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| A4C | A4C | ") and lines[3].startswith("| PSAX-AV | PSAX_AV | ")
    assert (tmp_path / "rows.json").exists()
