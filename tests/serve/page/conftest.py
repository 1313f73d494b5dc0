"""A study that is analysed once, and pages that take it over."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from page_client import PageClient, opened_page
from small_echo import write_small_study

from echoapex.infer.clip.models import TaskInterpreter
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.study.analyze import NamedInterpreter, StudyAnalyzer
from echoapex.vocabulary import View


@pytest.fixture(scope="session")
def analysed_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of two short clips, A4C with an ECG and PLAX; their files lie elsewhere."""
    place = tmp_path_factory.mktemp("analysed")
    files = write_small_study(tmp_path_factory.mktemp("files"), views=(View.A4C, View.PLAX), with_ecg=(View.A4C,))
    models = NamedInterpreter(TaskInterpreter.load("phantom", "cpu", "fp32"), "phantom", "cpu")
    options = AnalysisOptions(overlays=False, precision="fp32")
    StudyAnalyzer(models, options, raise_unexpected=True).run(files, place / "results")
    return place


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Callable[..., PageClient]]:
    """Opens pages; the state is the same for all pages of a test, so that a second one is a restart."""
    with ExitStack() as stack:
        open_now: list[ExitStack] = []

        def start(**settings: Any) -> PageClient:
            while open_now:
                open_now.pop().close()
            here = stack.enter_context(ExitStack())
            open_now.append(here)
            return here.enter_context(opened_page(tmp_path / "state", **settings))

        yield start


@pytest.fixture
def reviewed(page: Callable[..., PageClient], analysed_study: Path, tmp_path: Path) -> PageClient:
    """A page with one study that is ready."""
    shutil.copytree(analysed_study, tmp_path / "studies")
    opened = page(studies=str(tmp_path / "studies"))
    opened.study()
    return opened
