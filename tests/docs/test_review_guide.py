"""The Python code of the guides on reviewing and on ONNX runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from small_echo import write_small_study

import echoapex
from echoapex.cli.models import export
from echoapex.infer.review.correction_files import read_correction
from echoapex.infer.review.recomputation import CORRECTED
from echoapex.infer.study.stored import read_stored
from echoapex.vocabulary import View

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "guides"


def run_guide(name: str) -> dict[str, Any]:
    """Run the Python blocks of a guide in the working folder; returns what they defined."""
    code = re.findall(r"^```python\n(.*?)^```", (GUIDES / name).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    defined: dict[str, Any] = {}
    for block in code:
        exec(block, defined)
    return defined


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("guide")
    (path,) = write_small_study(folder / "study", views=(View.A4C,))
    path.rename(path.with_name("A4C.dcm"))
    return folder


def test_the_guide_on_reviewing_runs(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    echoapex.load("phantom", device="cpu").analyze("study", "results")
    defined = run_guide("review.md")
    reviewed = read_stored(Path("reviewed"))
    assert reviewed.report == defined["reviewed"].report
    (clip,) = reviewed.report.clips
    assert (clip.row_mm, clip.column_mm) == (0.4, 0.4)
    assert any(note.startswith("corrected by a person: calibration set by hand") for note in clip.notes)
    assert all(CORRECTED in item.details for item in clip.measurements if item.quantity.needs_spacing)
    correction, maps = read_correction(Path("corrections"), clip.clip_id)
    assert correction == defined["correction"]
    assert maps.keys() == defined["label_maps"].keys()


def test_the_guide_on_onnx_runs(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    assert export("phantom", onnx=Path("decoder.onnx")) == 0
    defined = run_guide("onnx.md")
    assert defined["logits"].shape == (1, 1, defined["side"], defined["side"])
    assert 0 <= float(defined["iou"][0]) <= 1
    assert defined["logits"].max() > 0
