"""Batches come in order whoever prepares them, none too many, and their errors are not swallowed."""

import os
import threading
from pathlib import Path

import pytest
import torch
from straight_line import PointSource
from tiny_pretraining import crop_source

from echoapex.data.batch import prefetched, workers_for


class Recorder:
    """Gives the step as its batch, and remembers who asked."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.threads: set[int] = set()

    def batch(self, step: int) -> int:
        self.steps.append(step)
        self.threads.add(threading.get_ident())
        return step


def test_every_step_gets_its_own_batch_once() -> None:
    source = Recorder()
    assert list(prefetched(source, 3, 9)) == [3, 4, 5, 6, 7, 8]
    assert source.steps == [3, 4, 5, 6, 7, 8]
    assert threading.get_ident() not in source.threads
    assert len(source.threads) == 1


def test_a_finished_run_prepares_nothing() -> None:
    source = Recorder()
    assert list(prefetched(source, 5, 5)) == []
    assert source.steps == []


def test_only_one_batch_is_prepared_ahead() -> None:
    source = Recorder()
    batches = prefetched(source, 0, 100)
    assert [next(batches), next(batches)] == [0, 1]
    batches.close()
    assert len(source.steps) <= 3


def test_an_error_of_the_source_reaches_the_loop() -> None:
    class Broken(PointSource):
        def batch(self, step: int) -> object:
            raise OSError(f"step {step}: the disk is gone")

    with pytest.raises(OSError, match="step 2: the disk is gone"):
        next(prefetched(Broken(), 2, 4))


class Signed:
    """Says which process made which batch; the third is broken."""

    def batch(self, step: int) -> tuple[int, int]:
        if step == 12:
            raise FileNotFoundError(f"step {step}: the disk is gone")
        return step, os.getpid()


def test_several_processes_make_the_batches_of_one_in_its_order(tmp_path: Path) -> None:
    source = crop_source(tmp_path)
    expected = [source.batch(step) for step in range(2, 7)]
    made = list(prefetched(source, 2, 7, workers=2))
    assert len(made) == len(expected)
    for one, other in zip(made, expected, strict=True):
        for name in ("global_crops", "local_crops", "masked", "rows"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_the_processes_are_others_take_turns_and_hand_their_errors_over_as_they_are() -> None:
    batches = prefetched(Signed(), 8, 20, workers=2)
    made = [next(batches) for _ in range(4)]
    assert [step for step, _ in made] == [8, 9, 10, 11]
    assert len({process for _, process in made}) == 2
    assert os.getpid() not in {process for _, process in made}
    with pytest.raises(FileNotFoundError, match=r"^step 12: the disk is gone$"):
        next(batches)


def test_how_many_processes_is_a_matter_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(24)), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert workers_for("cuda", None) == 5
    assert workers_for("cuda:1", 9) == 9
    assert workers_for("cpu", None) == 0
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert workers_for("cuda", None) == 16
