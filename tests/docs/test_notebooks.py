"""The tutorials run from the first cell to the last, and show what they showed when they were written."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

TUTORIALS = Path(__file__).resolve().parents[2] / "docs" / "tutorials"
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))


def test_there_are_tutorials() -> None:
    assert {path.stem for path in NOTEBOOKS} == {"analyse_a_study", "fine_tune_on_20_clips", "pretrain_and_probe"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    shown = kinds_of_output(notebook)
    assert shown, "the notebook is kept with its outputs (make notebooks)"
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    assert kinds_of_output(notebook) == shown
    check = CHECKS.get(path.stem)
    if check is not None:
        check(text_of(notebook))


def kinds_of_output(notebook: nbformat.NotebookNode) -> list[tuple[str, ...]]:
    """Per code cell the kinds of what it shows; figures differ between machines, kinds do not."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [tuple(sorted({output.output_type for output in cell.outputs})) for cell in cells]


def text_of(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(output.get("text", "") for output in outputs)


def fine_tuning_helps(text: str) -> None:
    before, after = (float(part.split("%")[0]) for part in text.split("views right before: ")[-1].split(", after: "))
    assert after > before


CHECKS = {"fine_tune_on_20_clips": fine_tuning_helps}
