"""Run the tutorials, each in an empty folder, and keep what they show: ``make notebooks``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

TUTORIALS = Path(__file__).parent / "tutorials"


def run(path: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a new run."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=900, kernel_name="python3", resources=place).execute()
    for cell in notebook.cells:  # when it ran is nobody's concern
        cell.metadata.pop("execution", None)
    return notebook


def main() -> None:
    """Run all of them in place."""
    for path in sorted(TUTORIALS.glob("*.ipynb")):
        sys.stderr.write(f"{path.name}\n")
        nbformat.write(run(path), path)


if __name__ == "__main__":
    main()
