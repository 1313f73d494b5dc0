"""How many files one has to open to follow one clip, and one training step, from end to end.

``docs/explanation/architecture.md`` lists the files of both ways in reading order; here they are held against the files
in which a function really ran.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from conftest import LabelledStudy
from tiny_recipes import StartingPoint, shrink

import echoapex
from echoapex.infer.clip.models import TaskInterpreter
from echoapex.infer.study.analyze import NamedInterpreter, StudyAnalyzer
from echoapex.recipes.runner import Reporting, finetune

PACKAGE = Path(echoapex.__file__).parent
PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "architecture.md"


class Followed:
    """The files of the package in which a function was called while it was on."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}
        self.on = False

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        if self.on and event == "call" and name.startswith(str(PACKAGE)) and frame.f_code.co_name != "<module>":
            self.files[Path(name).relative_to(PACKAGE).as_posix()] = None


@contextmanager
def followed() -> Iterator[Followed]:
    found = Followed()
    before = sys.getprofile()
    threading.setprofile(found)
    sys.setprofile(found)
    try:
        yield found
    finally:
        sys.setprofile(before)
        threading.setprofile(None)  # type: ignore[arg-type]


def listed(title: str) -> list[str]:
    """The files that the page lists under a heading, in reading order."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"^\d+\. `([\w/]+\.py)`", section, re.M)


def check(title: str, ran: dict[str, None], most_listed: int, most_run: int) -> None:
    main_line = listed(title)
    assert 0 < len(main_line) <= most_listed
    missing = [name for name in main_line if name not in ran]
    assert not missing, f"the page lists files that do not run: {missing}"
    assert len(ran) <= most_run, f"{len(ran)} files run: {sorted(ran)}"


def test_the_way_of_one_clip(labelled_study: LabelledStudy, tmp_path: Path) -> None:
    interpreter = TaskInterpreter.load("phantom", "cpu")
    analyzer = StudyAnalyzer(NamedInterpreter(interpreter, "phantom", "cpu"))
    with followed() as found:
        found.on = True
        analyzer.run([labelled_study.folder / "A4C.dcm"], tmp_path / "out")
    check("The way of one clip", found.files, most_listed=25, most_run=MOST_FILES_OF_A_CLIP)


MOST_FILES_OF_A_CLIP = 50
"""Reading, analysing and writing together; the set is loaded before."""


@pytest.mark.parametrize("recipe", ["pretrain_tiny_phantom", "phantom_multitask"])
def test_the_way_of_one_training_step(recipe: str, tmp_path: Path) -> None:
    changes = shrink(recipe, StartingPoint(Path("none"), Path("none")))
    rarely = dict.fromkeys(("score_every", "checkpoint_every", "log_every"), 50)
    changes["train"] = {**changes["train"], **rarely, "steps": 4, "trackers": [], "precision": "fp32"}
    with followed() as found:

        def between(step: int, steps: int, loss: Any) -> None:
            found.on = step == 1
            found.files.setdefault("train/trainer.py")  # the loop that calls this; it began before the step

        finetune(recipe, changes, tmp_path / "run", reporting=Reporting(stepped=between))
    assert found.files
    title = "The way of one pretraining step" if recipe.startswith("pretrain") else "The way of one fine-tuning step"
    check(title, found.files, most_listed=12, most_run=20)
