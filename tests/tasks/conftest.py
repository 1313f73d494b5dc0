"""Small real tasks, built once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_tasks import TinyTasks, build_tasks, encoded_clip, save_set

from echoapex.models.encoder import EncodedClip


@pytest.fixture(autouse=True)
def _same_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="package")
def tasks() -> TinyTasks:
    """All tasks with random weights, for evaluation; a test that trains builds its own."""
    tasks = build_tasks()
    tasks.multitask.eval()
    tasks.ejection_fraction.eval()
    return tasks


@pytest.fixture(scope="package")
def encoded(tasks: TinyTasks) -> EncodedClip:
    """A drawn clip of five frames as the shared encoder saw it."""
    return encoded_clip(tasks)


@pytest.fixture(scope="package")
def saved_set(tasks: TinyTasks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of bundles of these tasks."""
    return save_set(tasks, tmp_path_factory.mktemp("sets") / "tiny")
